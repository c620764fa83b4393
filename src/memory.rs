//! What the machine offers: free memory and cores. A fact that cannot be detected is `None`, never a guess.

use crate::engine::{DeviceInfo, DeviceKind, heap};
use sysinfo::{MemoryRefreshKind, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System};

fn system() -> Option<System> {
    let ram = MemoryRefreshKind::nothing().with_ram();
    System::new_with_specifics(RefreshKind::nothing().with_memory(ram)).ok()
}

/// Bytes of main memory that can be taken without swapping, as the system says; a container's limit counts.
pub fn available_ram() -> Option<u64> {
    let system = system()?;
    let available = system.available_memory();
    Some(
        system
            .cgroup_limits()
            .map_or(available, |limits| limits.free_memory.min(available)),
    )
}

/// Bytes for people: `1.50 GiB`, or MiB below one.
pub fn human_bytes(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib >= 1024.0 {
        format!("{:.2} GiB", mib / 1024.0)
    } else {
        format!("{mib:.2} MiB")
    }
}

/// Bytes of main memory installed.
pub fn total_ram() -> Option<u64> {
    system().map(|system| system.total_memory())
}

/// Bytes a KV cache could be given at most: main memory, and what devices have of their own.
pub fn available_bytes(devices: &[DeviceInfo]) -> Option<u64> {
    let own: u64 = devices
        .iter()
        .filter(|d| d.kind == DeviceKind::Gpu)
        .map(|d| d.memory_free)
        .sum();
    available_ram().map(|ram| ram + own)
}

/// Bytes of main memory that this process occupies now, mapped files included.
pub fn resident() -> Option<u64> {
    this_process(sysinfo::Process::memory)
}

/// The most bytes of main memory that this process has occupied since it began, mapped files included; Linux tells.
pub fn peak_resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// For programs that serve for long, called before they start threads: the heap gives back what is freed, where the C library
/// would keep it in many places (glibc: eight arenas per core, and holes between kept prompts of all sizes), so that the memory
/// of a server crept up for minutes under load. Where there is no such thing, nothing happens.
pub fn prepare_heap_to_last() {
    /// Threads of a server take turns; two lets them allocate while another does.
    const ARENAS: i32 = 2;
    /// glibc's own limit at the start.
    const LARGE: i32 = 128 << 10;
    heap::prepare_to_last(ARENAS, LARGE);
}

/// Bytes of address space that this process has now.
pub fn address_space() -> Option<u64> {
    this_process(sysinfo::Process::virtual_memory)
}

/// Bytes of main memory that another process occupies now, mapped files included; `None` where there is no such process, or
/// the system does not tell.
pub fn resident_of(pid: u32) -> Option<u64> {
    process(sysinfo::Pid::from_u32(pid), sysinfo::Process::memory)
}

fn this_process(read: impl Fn(&sysinfo::Process) -> u64) -> Option<u64> {
    process(sysinfo::get_current_pid().ok()?, read)
}

fn process(pid: sysinfo::Pid, read: impl Fn(&sysinfo::Process) -> u64) -> Option<u64> {
    let mut system = System::new_with_specifics(RefreshKind::nothing()).ok()?;
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&[pid]),
        false,
        ProcessRefreshKind::nothing().with_memory(),
    );
    system.process(pid).map(read)
}

/// Bytes that the system has moved to its swap space.
pub fn swap_used() -> Option<u64> {
    let swap = MemoryRefreshKind::nothing().with_swap();
    let system = System::new_with_specifics(RefreshKind::nothing().with_memory(swap)).ok()?;
    Some(system.used_swap())
}

/// Physical cores this process may use: more threads than that only compete for the same arithmetic units.
pub fn physical_cores() -> u32 {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    let physical = System::physical_core_count().unwrap_or(allowed);
    u32::try_from(physical.min(allowed)).unwrap_or(1).max(1)
}
