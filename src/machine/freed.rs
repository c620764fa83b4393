//! A machine as it will be when something is gone.

use super::{Fact, GpuMemory, Machine};

impl Machine {
    /// These facts once `main` bytes of main memory and `cards` bytes of the cards' own memory are given back. What is known of
    /// several cards' bytes only in sum goes to them in proportion to their size.
    #[must_use]
    pub fn with_freed(mut self, main: u64, cards: u64) -> Self {
        let add = |fact: &mut Fact<u64>, bytes: u64| {
            if let Fact::Known(known) = fact {
                *known = known.saturating_add(bytes);
            }
        };
        add(&mut self.memory.available, main);
        if let Fact::Known(used) = &mut self.memory.limit_used {
            *used = used.saturating_sub(main);
        }
        let size = |total: &Fact<u64>| total.get().unwrap_or(0);
        let all: u64 = self
            .gpus
            .iter()
            .filter(|gpu| gpu.kind == GpuMemory::Discrete && gpu.device.is_some())
            .map(|gpu| size(&gpu.total))
            .sum();
        for gpu in &mut self.gpus {
            match gpu.kind {
                GpuMemory::Unified => add(&mut gpu.free, main),
                GpuMemory::Discrete if gpu.device.is_some() && all > 0 => {
                    let part = u128::from(cards) * u128::from(size(&gpu.total)) / u128::from(all);
                    add(&mut gpu.free, u64::try_from(part).unwrap_or(u64::MAX));
                }
                GpuMemory::Discrete => {}
            }
            // never more than there is
            if let (Fact::Known(free), Fact::Known(total)) = (&mut gpu.free, &gpu.total) {
                *free = (*free).min(*total);
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::machine::test_machines::{gpu, machine};
    use crate::machine::{Fact, GpuMemory};

    const GIB: u64 = 1 << 30;

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let mut facts = machine(32, 20);
        facts.gpus = vec![gpu("CUDA0", GpuMemory::Discrete, 8)];
        facts.gpus[0].free = Fact::Known(2 * GIB);
        let later = facts.with_freed(3 * GIB, 4 * GIB);
        assert_eq!(later.memory.available, Fact::Known(23 * GIB));
        assert_eq!(later.gpus[0].free, Fact::Known(6 * GIB));
        let full = later.with_freed(0, 100 * GIB);
        assert_eq!(full.gpus[0].free, full.gpus[0].total, "never more than there is");
    }

    #[test]
    fn what_is_unknown_stays_so() {
        let mut facts = machine(32, 20);
        facts.memory.available = Fact::unknown("denied");
        assert!(facts.with_freed(GIB, GIB).memory.available.get().is_none());
    }
}
