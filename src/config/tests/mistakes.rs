//! The mistakes that people make, each with what Petit says about it.
//!
//! One snapshot a group, so that a person can read what a user reads, from the first to the last. What every one of them
//! must have is asked here: a place inside the file, what was expected, what to do, and nothing that was not made.

use std::path::Path;

use super::{
    super::{
        check::{Checked, check_file},
        contention::check_contention,
        diagnostic::Diagnostic,
        render,
        set::{Member, check_capacity, check_set},
        settings::Settings,
    },
    capacity,
};

/// What was done, and the file in which it was done.
type Mistake = (&'static str, &'static [u8]);

/// The rest of a job, where a mistake is made above it.
macro_rules! job {
    ($text:literal) => {
        concat!($text, "\ntasks: {main: {command: [make]}}\n").as_bytes()
    };
}

/// A job with one task, where a mistake is made inside that.
macro_rules! task {
    ($text:literal) => {
        concat!("tasks:\n  main:\n    ", $text, "\n").as_bytes()
    };
}

/// A job with one expression.
macro_rules! expression {
    ($text:literal) => {
        concat!(
            "params: {day: {default: today}}\nconfig: {path: /data}\ntasks:\n  load: {command: [make]}\n  main:\n    command: [echo, ",
            $text,
            "]\n"
        )
        .as_bytes()
    };
}

const YAML: &[Mistake] = &[
    ("a tab indents a line", b"tasks:\n  main:\n\tcommand: [make]\n"),
    ("a tab after blanks", b"tasks:\n  main:\n  \tcommand: [make]\n"),
    (
        "a key is indented by one blank too many",
        b"tasks:\n  main:\n    command: [make]\n     timeout: 5m\n",
    ),
    (
        "a key is indented by one blank too few",
        b"tasks:\n  main:\n    command: [make]\n   timeout: 5m\n",
    ),
    (
        "a blank is missing after a colon",
        b"tasks:\n  main:\n    command:[make]\n    timeout: 5m\n",
    ),
    ("a colon is missing", b"tasks\n  main:\n    command: [make]\n"),
    ("a quote is never closed", job!("name: \"Nightly load")),
    ("a single quote inside single quotes", job!("name: 'It's nightly'")),
    ("words after a closed quote", job!("name: \"Nightly\" load")),
    ("an unknown escape", job!("name: \"C:\\data\"")),
    (
        "a list is never closed",
        b"tasks:\n  main:\n    command: [make, all\n    timeout: 5m\n",
    ),
    ("a map is never closed", b"tasks: {main: {command: [make]}\n"),
    ("a bracket too many", b"tasks: {main: {command: [make]}}}\n"),
    (
        "a comma is missing in a list",
        b"tasks:\n  main:\n    command: [\"make\" \"all\"]\n",
    ),
    (
        "a key given twice",
        b"schedule: \"@daily\"\ntasks: {main: {command: [make]}}\nschedule: \"@hourly\"\n",
    ),
    (
        "a task given twice",
        b"tasks:\n  main: {command: [make]}\n  test: {command: [make, test]}\n  main: {command: [make, all]}\n",
    ),
    ("a cron expression without quotes", job!("schedule: */5 * * * *")),
    (
        "a cron expression without quotes, in a map",
        job!("schedule: {cron: */5 * * * *, timezone: UTC}"),
    ),
    (
        "a cron expression without quotes, in a list",
        job!("schedule:\n  cron:\n    - */5 * * * *"),
    ),
    ("a cron expression of stars alone", job!("schedule: * * * * *")),
    ("a shortcut without quotes", job!("schedule: @daily")),
    ("an alias of nothing", task!("command: [make]\n    env: *common")),
    (
        "a merge key",
        b"defaults: &base {timeout: 5m}\ntasks:\n  main:\n    <<: *base\n    command: [make]\n",
    ),
    ("a tag", task!("command: [sleep, !!str 5]")),
    ("a colon inside a text", job!("description: Note: loads orders")),
    (
        "a text that begins with a percent sign",
        job!("description: %5 of all orders"),
    ),
    ("a text that begins with a brace", job!("config: {path: {{ home }}}")),
    (
        "an expression without quotes in a list",
        expression!("${{ params.day }}"),
    ),
    ("an exclamation mark at the beginning", job!("description: !important")),
    ("a list as a key", b"tasks:\n  [a, b]: {command: [make]}\n"),
    (
        "several documents",
        b"tasks: {main: {command: [make]}}\n---\ntasks: {main: {command: [make]}}\n",
    ),
    (
        "not UTF-8",
        b"name: \"Gr\xfc\xdfe\"\ntasks: {main: {command: [make]}}\n",
    ),
    ("saved as UTF-16", b"\xff\xfen\0a\0m\0e\0:\0 \0x\0\n\0"),
    ("a NUL character", b"name: a\0b\ntasks: {main: {command: [make]}}\n"),
    ("an escaped NUL in an argument", task!("command: [echo, \"a\\0b\"]")),
    (
        "a byte order mark, and a mistake after it",
        b"\xef\xbb\xbfoverlap: skipp\ntasks: {main: {command: [make]}}\n",
    ),
    ("infinity", job!("config: {limit: .inf}")),
    (
        "a number that is too long",
        job!("config: {limit: 184467440737095516160000}"),
    ),
    ("nothing at all", b""),
    ("only comments", b"# TODO\n# write the job\n"),
    ("only a document marker", b"---\n"),
    ("a list at the top", b"- command: [make]\n- command: [make, test]\n"),
    ("a text at the top", b"make all\n"),
    (
        "JSON with a comma too many",
        b"{\"tasks\": {\"main\": {\"command\": [\"make\"],}},}}\n",
    ),
    ("an anchor inside itself", job!("config: &all {again: *all}")),
];

const SHAPES: &[Mistake] = &[
    ("yes where a truth value is meant", job!("enabled: yes")),
    ("off where a truth value is meant", job!("enabled: off")),
    ("a quoted truth value", job!("enabled: \"true\"")),
    ("a number where a truth value is meant", job!("enabled: 1")),
    ("leading zeros", job!("priority: 007")),
    ("a fraction where a whole number is meant", job!("priority: 1.5")),
    ("a text where a number is meant", job!("max_concurrency: many")),
    ("a number where a text is meant", job!("name: 123")),
    ("a truth value where a text is meant", job!("env: {DEBUG: true}")),
    ("a version that is a number", job!("env: {VERSION: 1.10}")),
    (
        "a date is a text and nothing is wrong but the number beside it",
        job!("env: {DAY: 2026-01-31, YEAR: 2026}"),
    ),
    ("a number as an argument", task!("command: [sleep, 5]")),
    ("a number as a command", task!("command: 7")),
    ("a map as an argument", task!("command: [echo, {a: b}]")),
    ("a text where a list is meant", job!("tags: nightly")),
    ("a list where a map is meant", job!("env: [A=1, B=2]")),
    ("tasks as a list", b"tasks:\n  - id: main\n    command: [make]\n"),
    ("a task that is only its command", b"tasks:\n  main: make all\n"),
    ("a task that is only its list", b"tasks:\n  main: [make, all]\n"),
    ("a dependency that is only an id", job!("depends_on: [ingest]")),
    ("a dependency that is no list", job!("depends_on: ingest")),
    (
        "a task's dependency as a text",
        b"tasks:\n  load: {command: [make]}\n  main:\n    command: [make]\n    depends_on: load\n",
    ),
    (
        "a task's dependency as a map",
        b"tasks:\n  load: {command: [make]}\n  main:\n    command: [make]\n    depends_on: [{task: load}]\n",
    ),
    ("a parameter that is only its default", job!("params: {day: today}")),
    ("retry as a number", task!("command: [make]\n    retry: 3")),
    (
        "a schedule that is a list",
        job!("schedule: [\"0 2 * * *\", \"0 3 * * *\"]"),
    ),
    ("a schedule that is a number", job!("schedule: 5")),
    ("a key without a value", job!("schedule:")),
    ("null", job!("timeout: null")),
    ("a task without anything", b"tasks:\n  main:\n"),
    ("no tasks", b"schedule: \"@daily\"\n"),
    ("tasks without a task", b"tasks: {}\n"),
    (
        "a task without a command",
        b"tasks:\n  main:\n    description: says nothing\n",
    ),
    ("an empty command", task!("command: \"\"")),
    ("a command of blanks", task!("command: \"  \"")),
    ("an empty list as a command", task!("command: []")),
    ("an empty program", task!("command: [\"\", x]")),
    ("below the least", job!("max_concurrency: 0")),
    ("above the most", job!("priority: 5000000")),
    (
        "a number beyond what numbers hold",
        job!("priority: 99999999999999999999"),
    ),
];

const KEYS: &[Mistake] = &[
    ("a key misspelt", job!("shedule: \"@daily\"")),
    ("a key with a hyphen", task!("command: [make]\n    depends-on: []")),
    ("a key in capitals", job!("Name: Nightly")),
    ("a key nobody knows", job!("colour: red")),
    ("cmd", task!("cmd: make")),
    ("script", task!("script: make")),
    ("run", task!("run: make")),
    ("commands", task!("commands: [make]")),
    ("steps in a task", task!("steps: [make]")),
    ("steps of a job", b"steps:\n  main: {command: [make]}\n"),
    ("jobs, as CI systems have them", b"jobs:\n  main: {command: [make]}\n"),
    ("cron at the top", job!("cron: \"0 2 * * *\"")),
    ("every at the top", job!("every: 15m")),
    ("timezone at the top", job!("timezone: Europe/Berlin")),
    ("on, as GitHub has it", job!("on: {schedule: [{cron: \"0 2 * * *\"}]}")),
    ("when at the top", job!("when: daily")),
    ("depends of a task", task!("command: [make]\n    depends: []")),
    ("needs of a task", task!("command: [make]\n    needs: []")),
    ("needs of a job", job!("needs: [ingest]")),
    ("when of a task", task!("command: [make]\n    when: always")),
    ("retries of a task", task!("command: [make]\n    retries: 3")),
    ("retries of a job", job!("retries: 3")),
    ("environment", job!("environment: {A: x}")),
    ("cwd", task!("command: [make]\n    cwd: /srv")),
    ("a command at the top", b"command: [make]\n"),
    (
        "a schedule in a task",
        task!("command: [make]\n    schedule: \"@daily\""),
    ),
    ("retry.attempts", task!("command: [make]\n    retry: {attempts: 3}")),
    (
        "retry.backoff",
        task!("command: [make]\n    retry: {retries: 3, backoff: 10s}"),
    ),
    ("schedule.tz", job!("schedule: {cron: \"@daily\", tz: UTC}")),
    ("misfire.catchup", job!("schedule: {cron: \"@daily\", catchup: true}")),
    (
        "concurrencyPolicy, as Kubernetes has it",
        job!("concurrencyPolicy: Forbid"),
    ),
    (
        "a whole file of Kubernetes",
        b"apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: load}\nspec: {schedule: \"0 2 * * *\"}\n",
    ),
    ("cron and every", job!("schedule: {cron: \"@daily\", every: 5m}")),
    ("neither cron nor every", job!("schedule: {timezone: UTC}")),
    ("command and uses", task!("command: [make]\n    uses: loader")),
    (
        "notify with two ways",
        job!("notify: [{when: [failure], command: [page], webhook: \"https://x\"}]"),
    ),
    ("notify with no way", job!("notify: [{when: [failure]}]")),
    ("notify with no occasion", job!("notify: [{when: [], command: [page]}]")),
    (
        "a dependency without its job",
        job!("depends_on: [{condition: last_success}]"),
    ),
    ("a secret from two places", job!("secrets: {TOKEN: {file: /x, env: T}}")),
    ("a secret from nowhere", job!("secrets: {TOKEN: {}}")),
    ("a secret written down", job!("secrets: {TOKEN: hunter2}")),
];

const VALUES: &[Mistake] = &[
    ("an id with a blank", job!("id: Nightly Load")),
    ("an id with a dot", job!("id: nightly.load")),
    ("an id that begins with a hyphen", job!("id: -nightly")),
    ("an empty id", job!("id: \"\"")),
    ("an id that is too long", job!("id: a123456789a123456789a123456789a123456789a123456789a123456789abcd")),
    ("a task's id with a blank", b"tasks:\n  Build It: {command: [make]}\n"),
    ("a task's id with an umlaut", "tasks:\n  prüfen: {command: [make]}\n".as_bytes()),
    ("a duration without a unit", job!("timeout: 90")),
    ("a duration with a word", job!("timeout: 5 minutes")),
    ("a duration with an unknown unit", job!("timeout: 2w")),
    ("a duration with a fraction", job!("timeout: 1.5h")),
    ("a negative duration", job!("timeout: -5m")),
    ("a duration of nothing", job!("timeout: 0s")),
    ("a duration in capitals", job!("timeout: 5M")),
    ("a duration with digits that do not fit", job!("timeout: 99999999999s")),
    ("a period below a second", job!("schedule: {every: 500ms}")),
    ("a period of nothing", job!("schedule: {every: 0s}")),
    ("a size without a unit", task!("command: [make]\n    resources: {memory: 512}")),
    ("a size with half a unit", task!("command: [make]\n    resources: {memory: 512M}")),
    ("a size with a small unit", task!("command: [make]\n    resources: {memory: 512mb}")),
    ("a size beyond what fits", task!("command: [make]\n    resources: {memory: 99999999999TiB}")),
    ("a negative number of processors", task!("command: [make]\n    resources: {cpu: -1}")),
    ("processors in thousandths", task!("command: [make]\n    resources: {cpu: 500m}")),
    ("no slots", task!("command: [make]\n    resources: {slots: {db: 0}}")),
    ("slots as a list", task!("command: [make]\n    resources: {slots: [db]}")),
    ("an unknown overlap", job!("overlap: skipp")),
    ("an overlap of another tool", job!("overlap: forbid")),
    ("an unknown misfire policy", job!("schedule: {cron: \"@daily\", misfire: {policy: run_once}}")),
    ("a misfire policy alone", job!("schedule: {cron: \"@daily\", misfire: once}")),
    ("a misfire limit of nothing", job!("schedule: {cron: \"@daily\", misfire: {limit: 0}}")),
    ("an unknown condition of a task", task!("command: [make]\n    condition: on_fail")),
    ("an unknown condition of a job", job!("depends_on: [{job: ingest, condition: success}]")),
    ("within_window without a window", job!("depends_on: [{job: ingest, condition: within_window}]")),
    ("negative retries", task!("command: [make]\n    retry: {retries: -1}")),
    ("too many retries", task!("command: [make]\n    retry: {retries: 100000}")),
    ("an unknown retry.when", task!("command: [make]\n    retry: {when: on_failure}")),
    ("a reserved variable", job!("env: {PETIT_HOME: /x}")),
    ("a variable with a hyphen", job!("env: {my-var: x}")),
    ("a variable that begins with a digit", job!("env: {2ND: x}")),
    ("a variable without a name", job!("env: {\"\": x}")),
    ("a job that depends on itself", b"id: load\ndepends_on: [{job: load}]\ntasks: {main: {command: [make]}}\n"),
    ("a job that depends on one twice", job!("depends_on: [{job: ingest}, {job: ingest}]")),
    ("a task that depends on nothing that is there", b"tasks:\n  extract: {command: [make]}\n  main:\n    command: [make]\n    depends_on: [extrct]\n"),
    ("a task that depends on a stranger", b"tasks:\n  extract: {command: [make]}\n  main:\n    command: [make]\n    depends_on: [warehouse]\n"),
    ("a task that depends on itself", task!("command: [make]\n    depends_on: [main]")),
    ("a task that depends on one twice", b"tasks:\n  a: {command: [make]}\n  b:\n    command: [make]\n    depends_on: [a, a]\n"),
    ("tasks in a circle", b"tasks:\n  a: {command: [make], depends_on: [c]}\n  b: {command: [make], depends_on: [a]}\n  c: {command: [make], depends_on: [b]}\n"),
    ("a pattern that is none", job!("params: {day: {pattern: '[0-9'}}")),
    ("a pattern of a number", job!("params: {n: {type: integer, pattern: '[0-9]'}}")),
    ("a default that the pattern refuses", job!("params: {day: {default: yesterday, pattern: '^\\d+$'}}")),
    ("a default of the wrong type", job!("params: {n: {type: integer, default: three}}")),
    ("a default that is no text", job!("params: {n: {default: 7}}")),
    ("an unknown type", job!("params: {n: {type: int}}")),
    ("a parameter's name with a blank", job!("params: {the day: {default: x}}")),
];

const SCHEDULES: &[Mistake] = &[
    ("too few fields", job!("schedule: \"0 2 *\"")),
    ("too many fields", job!("schedule: \"0 0 2 * * * * *\"")),
    ("a year", job!("schedule: \"0 0 2 * * ? 2027\"")),
    ("words instead of fields", job!("schedule: daily")),
    ("a sentence", job!("schedule: every 5 minutes")),
    ("an empty expression", job!("schedule: \"\"")),
    ("an unknown shortcut", job!("schedule: \"@dayly\"")),
    ("@reboot", job!("schedule: \"@reboot\"")),
    ("@every without a duration", job!("schedule: \"@every\"")),
    ("@every with a bad duration", job!("schedule: \"@every 5 minutes\"")),
    (
        "@every inside a list",
        job!("schedule: {cron: [\"@daily\", \"@every 5m\"]}"),
    ),
    ("a shortcut with more", job!("schedule: \"@daily 5\"")),
    ("a minute out of range", job!("schedule: \"61 * * * *\"")),
    ("the minute 60", job!("schedule: \"60 * * * *\"")),
    ("the hour 24", job!("schedule: \"0 24 * * *\"")),
    ("the day 0", job!("schedule: \"0 2 0 * *\"")),
    ("the month 13", job!("schedule: \"0 2 1 13 *\"")),
    ("the weekday 8", job!("schedule: \"0 2 * * 8\"")),
    ("a month by its whole name", job!("schedule: \"0 2 1 January *\"")),
    ("a weekday in another language", job!("schedule: \"0 2 * * LUN\"")),
    ("a range that runs backwards", job!("schedule: \"0 22-6 * * *\"")),
    ("a step of nothing", job!("schedule: \"*/0 * * * *\"")),
    ("a step larger than the field", job!("schedule: \"*/90 * * * *\"")),
    ("the last day of the month", job!("schedule: \"0 2 L * *\"")),
    ("the nearest weekday", job!("schedule: \"0 2 15W * *\"")),
    ("the second Monday", job!("schedule: \"0 2 * * MON#2\"")),
    ("Jenkins' H", job!("schedule: \"H 2 * * *\"")),
    ("a random range", job!("schedule: \"0~30 2 * * *\"")),
    ("a question mark in a field of time", job!("schedule: \"? 2 * * *\"")),
    ("a blank after a comma", job!("schedule: \"0 2 * * 1, 5\"")),
    ("a stray comma", job!("schedule: \"0,,30 2 * * *\"")),
    ("a time of day as a field", job!("schedule: \"02:00 * * * *\"")),
    (
        "a sign that is not ASCII",
        "schedule: \"0 2 * * 1–5\"\ntasks: {main: {command: [make]}}\n".as_bytes(),
    ),
    (
        "a zone inside the expression",
        job!("schedule: \"TZ=Europe/Berlin 0 2 * * *\""),
    ),
    ("February the 30th", job!("schedule: \"0 2 30 2 *\"")),
    (
        "the 31st of months that have none",
        job!("schedule: \"0 2 31 4,6,9,11 *\""),
    ),
    (
        "a zone misspelt",
        job!("schedule: {cron: \"@daily\", timezone: Europe/Berln}"),
    ),
    ("a city alone", job!("schedule: {cron: \"@daily\", timezone: Tokyo}")),
    (
        "a zone by an offset",
        job!("schedule: {cron: \"@daily\", timezone: \"+02:00\"}"),
    ),
    (
        "an abbreviation that means several zones",
        job!("schedule: {cron: \"@daily\", timezone: IST}"),
    ),
    (
        "an abbreviation of summer time",
        job!("schedule: {cron: \"@daily\", timezone: CEST}"),
    ),
    (
        "the machine's zone",
        job!("schedule: {cron: \"@daily\", timezone: local}"),
    ),
    ("an empty list of expressions", job!("schedule: {cron: []}")),
];

const EXPRESSIONS: &[Mistake] = &[
    ("not closed", expression!("\"${{ run.id\"")),
    ("nothing inside", expression!("\"${{ }}\"")),
    ("a sum", expression!("\"${{ 1 + 1 }}\"")),
    ("an unknown filter", expression!("\"${{ run.id | nosuch }}\"")),
    ("a statement", expression!("\"${{ if x }}\"")),
    ("a misspelt parameter", expression!("\"${{ params.dya }}\"")),
    ("a parameter that is not there", expression!("\"${{ params.colour }}\"")),
    ("a misspelt key of config", expression!("\"${{ config.pth }}\"")),
    (
        "a key inside config that is not there",
        expression!("\"${{ config.path.x }}\""),
    ),
    ("a misspelt name of the run", expression!("\"${{ run.attemp }}\"")),
    ("a misspelt root", expression!("\"${{ parms.day }}\"")),
    ("a name of another tool", expression!("\"${{ github.sha }}\"")),
    ("a secret", expression!("\"${{ secrets.TOKEN }}\"")),
    ("a root alone", expression!("\"${{ params }}\"")),
    ("a variable of the machine", expression!("\"${{ env.HOME }}\"")),
    ("an output without outputs", expression!("\"${{ tasks.load.rows }}\"")),
    (
        "an output of a task that is not upstream",
        expression!("\"${{ tasks.load.outputs.rows }}\""),
    ),
    (
        "an output of a task that is not there",
        expression!("\"${{ tasks.laod.outputs.rows }}\""),
    ),
    (
        "an output of the task itself",
        expression!("\"${{ tasks.main.outputs.rows }}\""),
    ),
    ("a hyphen in a name", expression!("\"${{ params.the-day }}\"")),
    ("inside a script", task!("command: echo ${{ params.day }}")),
    (
        "inside a script over lines",
        task!("command: |\n      make\n      echo \"${{ run.id }}\""),
    ),
    (
        "inside the shell",
        task!("command: make\n    shell: \"sh -c ${{ run.id }}\""),
    ),
    (
        "another parameter inside a default",
        job!("params: {a: {default: x}, b: {default: \"${{ params.a }}\"}}"),
    ),
    (
        "an attempt inside a default",
        job!("params: {a: {default: \"${{ run.attempt }}\"}}"),
    ),
    ("a variable inside a variable", job!("env: {A: x, B: \"${{ env.A }}\"}")),
    (
        "a task inside the job's env",
        job!("env: {A: \"${{ tasks.main.status }}\"}"),
    ),
];

/// Files that are good alone and not together.
const SETS: &[(&str, &[(&str, &str)])] = &[
    (
        "a job that nobody has",
        &[
            (
                "etl.yaml",
                "depends_on: [{job: ingset}]\ntasks: {main: {command: [make]}}\n",
            ),
            ("ingest.yaml", "tasks: {main: {command: [make]}}\n"),
        ],
    ),
    (
        "a job that nobody has, nor one like it",
        &[(
            "etl.yaml",
            "depends_on: [{job: warehouse}]\ntasks: {main: {command: [make]}}\n",
        )],
    ),
    (
        "jobs in a circle",
        &[
            ("a.yaml", "depends_on: [{job: b}]\ntasks: {main: {command: [make]}}\n"),
            ("b.yaml", "depends_on:\n  - job: c\ntasks: {main: {command: [make]}}\n"),
            ("c.yaml", "depends_on: [{job: a}]\ntasks: {main: {command: [make]}}\n"),
        ],
    ),
    (
        "one id in three files",
        &[
            ("etl.yaml", "tasks: {main: {command: [make]}}\n"),
            ("old/etl.yml", "tasks: {main: {command: [make]}}\n"),
            ("copy.yaml", "name: Copy\nid: etl\ntasks: {main: {command: [make]}}\n"),
        ],
    ),
    (
        "more than the machine has",
        &[(
            "big.yaml",
            "tasks:\n  main:\n    command: [make]\n    resources: {slots: {db: 3}, cpu: 64, memory: 1TiB}\n",
        )],
    ),
    (
        "an unknown pool",
        &[(
            "pool.yaml",
            "tasks:\n  main:\n    command: [make]\n    resources: {slots: {dbb: 1, licence: 1}}\n",
        )],
    ),
    (
        "two jobs on one second and one slot",
        &[
            (
                "one.yaml",
                "schedule: \"0 2 * * *\"\ntasks:\n  main:\n    command: [make]\n    resources: {slots: {gpu: 1}}\n",
            ),
            (
                "two.yaml",
                "schedule: \"@every 1h\"\ntasks: {main: {command: [make]}}\n",
            ),
            (
                "three.yaml",
                "schedule: \"0 2 * * *\"\ntasks:\n  main:\n    command: [make]\n    resources: {slots: {gpu: 1}}\n",
            ),
        ],
    ),
];

fn check(file: &str, text: &[u8]) -> Checked {
    check_file(Path::new(file), text, &Settings::default())
}

/// What is said about a file and lacks something that everything said must have.
fn unhelpful(title: &str, checked: &Checked, found: &[Diagnostic]) -> Vec<String> {
    let of_code = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let mut lacking = Vec::new();
    for it in found {
        let text = checked.yaml.get(it.span.clone());
        for (holds, what) in [
            (text.is_some(), "lies outside the file"),
            (
                text.is_some_and(|text| !text.is_empty()) || checked.yaml.is_empty(),
                "points at nothing",
            ),
            (it.line >= 1 && it.column >= 1, "does not count from 1"),
            (
                (it.line, it.column) <= (it.end_line, it.end_column),
                "ends before it begins",
            ),
            (
                it.expected.is_some() || !it.is_error(),
                "does not say what was expected",
            ),
            (it.hint.is_some(), "does not say what to do"),
            (
                it.code.chars().all(of_code),
                "has a code that is not written as the others are",
            ),
        ] {
            if !holds {
                lacking.push(format!("{title}: {} ({}) {what}", it.code, it.message));
            }
        }
    }
    lacking
}

fn group(name: &str, mistakes: &[Mistake]) {
    let mut page = String::new();
    let mut lacking = Vec::new();
    for (title, text) in mistakes {
        let checked = check("load.yaml", text);
        if checked.job.is_some() || !checked.diagnostics.iter().any(Diagnostic::is_error) {
            lacking.push(format!("{title}: the file is valid"));
        }
        lacking.extend(unhelpful(title, &checked, &checked.diagnostics));
        let told = render::render_human(&checked.diagnostics, |_| Some(&checked.yaml), false);
        page.push_str(&format!("# {title}\n\n{told}\n"));
    }
    insta::with_settings!({omit_expression => true, prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!(name, page);
    });
    assert!(lacking.is_empty(), "{lacking:#?}");
}

#[test]
fn what_is_no_yaml_is_explained() {
    group("mistakes-yaml", YAML);
}

#[test]
fn what_has_the_wrong_shape_is_explained() {
    group("mistakes-shapes", SHAPES);
}

#[test]
fn keys_that_petit_does_not_have_are_explained() {
    group("mistakes-keys", KEYS);
}

#[test]
fn values_that_cannot_be_are_explained() {
    group("mistakes-values", VALUES);
}

#[test]
fn schedules_that_cannot_be_are_explained() {
    group("mistakes-schedules", SCHEDULES);
}

#[test]
fn expressions_that_cannot_be_are_explained() {
    group("mistakes-expressions", EXPRESSIONS);
}

#[test]
fn what_files_say_together_is_explained() {
    let mut page = String::new();
    let mut lacking = Vec::new();
    for (title, files) in SETS {
        let checked: Vec<(&str, Checked)> = files
            .iter()
            .map(|(file, text)| (*file, check(file, text.as_bytes())))
            .collect();
        let members: Vec<Member<'_>> = checked
            .iter()
            .map(|(file, checked)| Member {
                file,
                job: checked.job.as_ref().expect(title),
                yaml: &checked.yaml,
            })
            .collect();
        let mut found = check_set(&members);
        found.extend(members.iter().flat_map(|member| check_capacity(member, &capacity())));
        found.extend(check_contention(&members, &capacity()));
        assert!(!found.is_empty(), "{title}");
        found.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        for (file, checked) in &checked {
            let of_file: Vec<Diagnostic> = found.iter().filter(|it| it.file == *file).cloned().collect();
            lacking.extend(unhelpful(title, checked, &of_file));
        }
        let source = |file: &str| {
            let (_, checked) = checked.iter().find(|(name, _)| *name == file)?;
            Some(checked.yaml.as_str())
        };
        page.push_str(&format!(
            "# {title}\n\n{}\n",
            render::render_human(&found, source, false)
        ));
    }
    insta::with_settings!({omit_expression => true, prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("mistakes-sets", page);
    });
    assert!(lacking.is_empty(), "{lacking:#?}");
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let text = "shedule: \"@daily\"\nenabled: yes\noverlap: forbid\ntimeout: 5 minutes\ntasks:\n  main:\n    cmd: make\n    retry: 3\n";
    let checked = check("load.yaml", text.as_bytes());
    let told: Vec<(usize, &str)> = checked
        .diagnostics
        .iter()
        .map(|it| (it.line, it.code.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (1, "unknown-key"),
            (2, "wrong-type"),
            (3, "invalid-value"),
            (4, "invalid-value"),
            (7, "unknown-key"),
            (8, "wrong-type"),
        ]
    );
    let text = "schedule: {cron: [\"61 * * * *\", \"0 24 * * *\"], timezone: Berlin}\nenv: {my-var: x}\ntimeout: 0s\ntasks:\n  main:\n    command: [echo, \"${{ params.x }}\"]\n    depends_on: [load]\n";
    let checked = check("load.yaml", text.as_bytes());
    let told: Vec<(usize, &str)> = checked
        .diagnostics
        .iter()
        .map(|it| (it.line, it.code.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (1, "cron"),
            (1, "cron"),
            (1, "unknown-timezone"),
            (2, "env-name"),
            (3, "zero-timeout"),
            (6, "unknown-param"),
            (7, "unknown-task"),
        ]
    );
}
