//! How much may run at a time on this machine: what the settings say, and for the rest what the machine has.
//!
//! A container's or a unit's share counts as the machine: limits of the cgroup are honoured.

use std::num::NonZero;

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::{
    config::settings::Settings,
    core::capacity::{SystemResources, cpu_millis},
};

/// The capacity under these settings, here and now.
pub fn of_machine(settings: &Settings) -> SystemResources {
    let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
    let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
    let resources = &settings.resources;
    SystemResources {
        tasks: settings.max_concurrency.unwrap_or_else(|| cpus.saturating_mul(2)),
        cpu_millis: cpu_millis(resources.cpu.unwrap_or_else(|| f64::from(cpus))),
        memory_bytes: resources.memory.map_or_else(memory, |memory| memory.as_bytes()),
        pools: resources.pools.clone(),
    }
}

/// The machine's memory, or the cgroup's if that is less, in bytes.
fn memory() -> u64 {
    let ram = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    // A system that does not say how much memory it has is not one that can be overbooked knowingly.
    let Ok(system) = System::new_with_specifics(ram) else {
        return u64::MAX;
    };
    let whole = system.total_memory();
    system
        .cgroup_limits()
        .map_or(whole, |limits| limits.total_memory.min(whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::units::ByteSize;

    #[test]
    fn settings_come_before_what_the_machine_has() {
        let machine = of_machine(&Settings::default());
        assert!(
            machine.tasks >= 2 && machine.cpu_millis >= 1_000 && machine.memory_bytes > 1 << 20,
            "{machine:?}"
        );
        let mut settings = Settings {
            max_concurrency: Some(3),
            ..Settings::default()
        };
        settings.resources.cpu = Some(0.5);
        settings.resources.memory = Some(ByteSize::from_bytes(7));
        settings.resources.pools.insert("gpu".to_owned(), 2);
        let capacity = of_machine(&settings);
        assert_eq!(
            (capacity.tasks, capacity.cpu_millis, capacity.memory_bytes),
            (3, 500, 7)
        );
        assert_eq!(capacity.pools["gpu"], 2);
    }
}
