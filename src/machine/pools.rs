//! What may be taken from each kind of memory of a machine, and why.

use super::{Fact, Gpu, GpuMemory, Machine, Pool};
use serde::Serialize;

/// A place that memory can be taken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolFacts {
    /// Which.
    pub pool: Pool,
    /// Its name for people.
    pub name: String,
    /// Bytes that may be taken now, nothing kept back.
    pub capacity: Fact<u64>,
    /// Where that number comes from, in words.
    pub why: String,
    /// Its memory is memory of that pool: what is taken here is taken there too (unified memory).
    pub within: Option<Pool>,
}

impl Machine {
    /// The pools of this machine: main memory first, then every device that the engine can use. A graphics processor that
    /// this build of the engine has no backend for is in [`Machine::gpus`] and is no pool.
    pub fn pools(&self) -> Vec<PoolFacts> {
        let usable = self.gpus.iter().enumerate().filter(|(_, gpu)| gpu.device.is_some());
        std::iter::once(self.main_pool())
            .chain(usable.map(|(number, gpu)| gpu.pool(number)))
            .collect()
    }

    /// The graphics devices that the engine can use, with their numbers in [`Machine::gpus`].
    pub fn devices(&self) -> impl Iterator<Item = (usize, &Gpu)> {
        self.gpus.iter().enumerate().filter(|(_, gpu)| gpu.device.is_some())
    }

    fn main_pool(&self) -> PoolFacts {
        let memory = &self.memory;
        let room = match &memory.limit {
            Fact::Known(Some(limit)) => match &memory.limit_used {
                Fact::Known(used) => Some(Fact::Known(limit.saturating_sub(*used))),
                Fact::Unknown(reason) => Some(Fact::Unknown(format!(
                    "what is used of the container's limit is unknown: {reason}"
                ))),
            },
            Fact::Known(None) => None,
            Fact::Unknown(_) => None,
        };
        let (capacity, why) = match (&memory.available, room) {
            (Fact::Known(available), Some(Fact::Known(room))) if room < *available => (
                Fact::Known(room),
                "what the limit of the container (control group) leaves, which is less than the machine has available",
            ),
            (_, Some(Fact::Unknown(reason))) => (Fact::Unknown(reason), "the container has a limit"),
            (Fact::Known(available), _) => (
                Fact::Known(*available),
                "available without swapping, as the system says",
            ),
            (Fact::Unknown(_), Some(Fact::Known(room))) => (
                Fact::Known(room),
                "what the limit of the container (control group) leaves; what the machine has available is unknown",
            ),
            (Fact::Unknown(reason), None) => (Fact::Unknown(reason.clone()), "the system does not tell"),
        };
        let why = match &memory.limit {
            Fact::Unknown(reason) => format!("{why}; whether a container limits it is unknown: {reason}"),
            Fact::Known(_) => why.to_owned(),
        };
        PoolFacts {
            pool: Pool::Main,
            name: "main memory".into(),
            capacity,
            why,
            within: None,
        }
    }
}

impl Gpu {
    fn pool(&self, number: usize) -> PoolFacts {
        let device = self.device.as_deref().unwrap_or_default();
        let (why, within) = match self.kind {
            GpuMemory::Discrete => ("free in the card's own memory", None),
            GpuMemory::Unified => (
                "what the driver lets a process keep of main memory for the graphics processor",
                Some(Pool::Main),
            ),
        };
        PoolFacts {
            pool: Pool::Gpu(number),
            name: format!("{device} ({})", self.name),
            capacity: self.free.clone(),
            why: format!("{why} (source: {})", self.source),
            within,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::machine::test_machines::{gpu, machine};
    use crate::machine::{Fact, GpuMemory, Pool};

    const GIB: u64 = 1 << 30;

    #[test]
    fn main_memory_offers_what_is_available() {
        let pools = machine(32, 20).pools();
        assert_eq!((pools.len(), pools[0].pool), (1, Pool::Main));
        assert_eq!(pools[0].capacity, Fact::Known(20 * GIB));
    }

    #[test]
    fn a_containers_limit_counts_when_it_is_tighter() {
        let mut facts = machine(32, 20);
        facts.memory.limit = Fact::Known(Some(8 * GIB));
        facts.memory.limit_used = Fact::Known(GIB);
        assert_eq!(facts.pools()[0].capacity, Fact::Known(7 * GIB));
        assert!(facts.pools()[0].why.contains("container"));
        facts.memory.limit = Fact::Known(Some(64 * GIB));
        assert_eq!(facts.pools()[0].capacity, Fact::Known(20 * GIB));
        facts.memory.limit_used = Fact::unknown("denied");
        assert!(facts.pools()[0].capacity.get().is_none(), "never a guess");
    }

    #[test]
    fn a_card_adds_a_pool_and_unified_memory_lies_within_main_memory() {
        let mut facts = machine(32, 20);
        facts.gpus = vec![
            gpu("CUDA0", GpuMemory::Discrete, 8),
            gpu("Metal", GpuMemory::Unified, 21),
        ];
        let pools = facts.pools();
        assert_eq!((pools[1].pool, pools[1].within), (Pool::Gpu(0), None));
        assert_eq!((pools[2].pool, pools[2].within), (Pool::Gpu(1), Some(Pool::Main)));
    }

    #[test]
    fn a_card_the_engine_cannot_use_is_no_pool() {
        let mut facts = machine(32, 20);
        facts.gpus = vec![gpu("CUDA0", GpuMemory::Discrete, 8)];
        facts.gpus[0].device = None;
        assert_eq!(facts.pools().len(), 1);
    }
}
