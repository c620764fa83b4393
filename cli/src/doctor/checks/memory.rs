//! Main memory.

use crate::doctor::{Finding, Level};
use crate::settings::human_bytes;
use llama_turboquant::machine::{Fact, Machine, MainMemory};

const GIB: u64 = 1 << 30;

/// What the selector wants to stay free: below it, it warns.
const COMFORT: u64 = 2 * GIB;

pub(super) fn check(machine: &Machine) -> Vec<Finding> {
    let mut findings = vec![available(machine)];
    findings.extend(limit(&machine.memory));
    findings.extend(swap(&machine.memory));
    findings
}

fn available(machine: &Machine) -> Finding {
    const ID: &str = "memory.available";
    let pools = machine.pools();
    let Some(main) = pools.first() else {
        return Finding::new(
            ID,
            Level::Note,
            "main memory is unknown",
            "What fits cannot be planned.",
        );
    };
    let free = match &main.capacity {
        Fact::Known(free) => *free,
        Fact::Unknown(why) => {
            return Finding::new(
                ID,
                Level::Note,
                format!("how much memory is available is unknown: {why}"),
                "What fits cannot be planned; a model that is too large is found out by trying.",
            );
        }
    };
    let limit = machine.memory.limit.get().flatten();
    // a container has its limit, not the machine
    let total = machine
        .memory
        .total
        .get()
        .map(|total| limit.unwrap_or(total).min(total))
        .or(limit);
    let of = total.map_or_else(String::new, |total| format!(" of {}", human_bytes(total)));
    let what = format!("{}{of} can be taken without swapping ({})", human_bytes(free), main.why);
    if free < GIB / 2 {
        Finding::new(
            ID,
            Level::Problem,
            what,
            "Hardly any model fits beside what runs already.",
        )
        .remedy("Close other programs, or give the machine or the container more memory.")
    } else if free < COMFORT {
        Finding::new(ID, Level::Warning, what, "Only small models and short contexts fit.")
            .remedy("Close other programs; choose a smaller model, a shorter context (-c) or a smaller cache (-ctk turbo3 -ctv turbo3).")
    } else if total.is_some_and(|total| free < total / 4) {
        Finding::new(ID, Level::Note, what, "Most of the memory is in use by other programs.")
    } else {
        Finding::ok(ID, what)
    }
}

fn limit(memory: &MainMemory) -> Option<Finding> {
    const ID: &str = "memory.limit";
    let limit = match &memory.limit {
        Fact::Known(None) => return None,
        Fact::Known(Some(limit)) => *limit,
        Fact::Unknown(why) => {
            return Some(Finding::new(
                ID,
                Level::Note,
                format!("whether a control group limits this process is unknown: {why}"),
                "If one does, the kernel ends the program when it goes over.",
            ));
        }
    };
    if memory.total.get().is_some_and(|total| limit >= total) {
        return None; // a limit that the machine reaches first
    }
    let used = memory.limit_used.get();
    let what = match used {
        Some(used) => format!(
            "this container may take {}, and {} of it is used",
            human_bytes(limit),
            human_bytes(used)
        ),
        None => format!("this container may take {}", human_bytes(limit)),
    };
    let tight = used.is_some_and(|used| used > limit / 10 * 9);
    Some(
        Finding::new(
            ID,
            if tight { Level::Warning } else { Level::Note },
            what,
            "Plans go by this limit; a program that goes over it is ended by the kernel without a word.",
        )
        .remedy(
            "Raise it where the container is started (`docker run --memory`, resources.limits.memory, MemoryMax=).",
        ),
    )
}

fn swap(memory: &MainMemory) -> Option<Finding> {
    const ID: &str = "memory.swap";
    let used = match &memory.swap_used {
        Fact::Known(used) => *used,
        Fact::Unknown(why) => {
            return Some(Finding::new(
                ID,
                Level::Note,
                format!("whether memory is swapped out is unknown: {why}"),
                "Swapping shows as answers that stall.",
            ));
        }
    };
    let what = format!("{} of swap space is in use", human_bytes(used));
    Some(if used == 0 {
        Finding::ok(ID, "no swap space is in use")
    } else if used > GIB.min(memory.total.get().unwrap_or(u64::MAX) / 16) {
        Finding::new(
            ID,
            Level::Warning,
            what,
            "Memory was short. A model whose pages are swapped out answers a hundred times slower.",
        )
        .remedy("Close other programs, or choose a smaller model, context or cache; `turboquant ceiling` finds the longest context.")
    } else {
        Finding::new(
            ID,
            Level::Note,
            what,
            "A little is normal where the system moves out what nobody uses.",
        )
    })
}
