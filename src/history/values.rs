//! Values on their way into DuckDB and out of it.
//!
//! Instants go in as UTC `TIMESTAMP`s. What comes out becomes JSON, which has fewer types: instants, days and everything
//! else that JSON cannot say become text, and whole numbers that do not fit become text rather than lose digits.

use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta};
use duckdb::{
    ToSql,
    types::{TimeUnit, ToSqlOutput, Value as Stored},
};
use serde_json::{Map, Number, Value};

use crate::core::Timestamp;

/// An instant as a parameter.
#[derive(Debug, Clone, Copy)]
pub(super) struct At(pub Timestamp);

impl ToSql for At {
    fn to_sql(&self) -> duckdb::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(self.stored()))
    }
}

impl At {
    /// The value that DuckDB keeps.
    pub fn stored(self) -> Stored {
        Stored::Timestamp(TimeUnit::Microsecond, self.0.timestamp_micros())
    }
}

/// An unsigned number for a `BIGINT`; one that does not fit is as large as fits.
pub(super) fn big(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The instant that DuckDB gave, if it gave one.
pub(super) fn as_instant(value: &Stored) -> Option<Timestamp> {
    if let Stored::Timestamp(unit, count) = value {
        instant(*unit, *count)
    } else {
        None
    }
}

/// `None` for an instant outside of the calendar.
fn instant(unit: TimeUnit, count: i64) -> Option<Timestamp> {
    match unit {
        TimeUnit::Second => DateTime::from_timestamp(count, 0),
        TimeUnit::Millisecond => DateTime::from_timestamp_millis(count),
        TimeUnit::Microsecond => DateTime::from_timestamp_micros(count),
        TimeUnit::Nanosecond => Some(DateTime::from_timestamp_nanos(count)),
    }
}

/// A value as JSON.
pub(super) fn json(value: Stored) -> Value {
    match value {
        Stored::Null => Value::Null,
        Stored::Boolean(truth) => truth.into(),
        Stored::TinyInt(n) => n.into(),
        Stored::SmallInt(n) => n.into(),
        Stored::Int(n) => n.into(),
        Stored::BigInt(n) => n.into(),
        Stored::HugeInt(n) => i64::try_from(n).map_or_else(|_| n.to_string().into(), Value::from),
        Stored::UHugeInt(n) => u64::try_from(n).map_or_else(|_| n.to_string().into(), Value::from),
        Stored::UTinyInt(n) => n.into(),
        Stored::USmallInt(n) => n.into(),
        Stored::UInt(n) => n.into(),
        Stored::UBigInt(n) => n.into(),
        // Through its text: 0.1 shall not become 0.10000000149.
        Stored::Float(n) => float(n.to_string().parse().unwrap_or(f64::NAN)),
        Stored::Double(n) => float(n),
        Stored::Decimal(n) => {
            let text = n.to_string();
            text.parse::<f64>()
                .ok()
                .filter(|_| text.len() <= 15)
                .map_or(Value::String(text), float)
        }
        Stored::Timestamp(unit, count) => instant(unit, count).map_or_else(
            || count.to_string().into(),
            |at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true).into(),
        ),
        Stored::Text(text) | Stored::Enum(text) => text.into(),
        Stored::Blob(bytes) | Stored::Geometry(bytes) => hex(&bytes).into(),
        Stored::Date32(days) => {
            let day = NaiveDate::from_ymd_opt(1970, 1, 1)
                .and_then(|epoch| epoch.checked_add_signed(TimeDelta::days(days.into())));
            day.map_or_else(|| days.to_string(), |day| day.to_string()).into()
        }
        Stored::Time64(unit, count) => {
            let time = instant(TimeUnit::Microsecond, unit.to_micros(count));
            time.map_or_else(|| count.to_string(), |at| at.time().to_string())
                .into()
        }
        Stored::Interval { months, days, nanos } => interval(months, days, nanos).into(),
        Stored::List(values) | Stored::Array(values) => values.into_iter().map(json).collect(),
        Stored::Struct(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), json(value.clone())));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Stored::Map(entries) => entries
            .iter()
            .map(|(key, value)| Value::Array(vec![json(key.clone()), json(value.clone())]))
            .collect(),
        Stored::Union(value) => json(*value),
        other => format!("{other:?}").into(),
    }
}

/// JSON has no infinities; they are kept as text rather than lost.
fn float(number: f64) -> Value {
    Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The form of ISO 8601, which every language reads: `P1M2DT3.5S`.
fn interval(months: i32, days: i32, nanos: i64) -> String {
    let micros = nanos / 1_000;
    let (seconds, rest) = (micros / 1_000_000, (micros % 1_000_000).abs());
    let sign = if micros < 0 && seconds == 0 { "-" } else { "" };
    let fraction = format!(".{rest:06}");
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    format!("P{months}M{days}DT{sign}{seconds}{fraction}S")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_value_has_its_json() {
        let connection = duckdb::Connection::open_in_memory().unwrap();
        for (sql, expected) in [
            ("NULL", Value::Null),
            ("true", json!(true)),
            ("42::TINYINT", json!(42)),
            ("sum(x) FROM (VALUES (1::BIGINT), (2)) t(x)", json!(3)),
            (
                "170141183460469231731687303715884105727::HUGEINT",
                json!("170141183460469231731687303715884105727"),
            ),
            ("0.1::FLOAT", json!(0.1)),
            ("'inf'::DOUBLE", json!("inf")),
            ("1.50::DECIMAL(9,2)", json!(1.5)),
            ("TIMESTAMP '2026-01-31 02:00:00.25'", json!("2026-01-31T02:00:00.250Z")),
            ("DATE '2026-01-31'", json!("2026-01-31")),
            ("TIME '02:03:04'", json!("02:03:04")),
            ("INTERVAL '1 month 2 days 3.5 seconds'", json!("P1M2DT3.5S")),
            ("'text'", json!("text")),
            ("'\\xAB'::BLOB", json!("ab")),
            ("[1, 2]", json!([1, 2])),
            ("{'a': 1, 'b': 'x'}", json!({"a": 1, "b": "x"})),
            ("MAP {'k': 1}", json!([["k", 1]])),
        ] {
            let value: Stored = connection
                .query_row(&format!("SELECT {sql}"), [], |row| row.get(0))
                .expect(sql);
            assert_eq!(json(value), expected, "{sql}");
        }
    }

    #[test]
    fn instants_come_back_as_they_went_in() {
        let connection = duckdb::Connection::open_in_memory().unwrap();
        let at: Timestamp = "2026-01-31T02:00:00.123456Z".parse().unwrap();
        let back: Stored = connection
            .query_row("SELECT ?::TIMESTAMP", [At(at)], |row| row.get(0))
            .unwrap();
        assert_eq!(json(back), json!("2026-01-31T02:00:00.123456Z"));
    }
}
