//! Saved slots: a file that is no slot of this context is refused; one that is restored can go on.

#[path = "../../tests/support/slot_file.rs"]
mod slot_file;

use super::{model::small, scratch};
use llama_turboquant::scheduler::{Scheduler, SchedulerConfig};
use llama_turboquant::{Batch, ContextConfig, KvCacheConfig, KvType};
use std::cell::OnceCell;

thread_local! {
    static SCHEDULER: OnceCell<Scheduler> = const { OnceCell::new() };
}

fn config() -> ContextConfig {
    let kv = KvCacheConfig::uniform(KvType::F16);
    ContextConfig {
        n_ctx: 64,
        n_batch: 64,
        n_ubatch: 64,
        n_threads: 1,
        kv,
        ..ContextConfig::default()
    }
}

/// A slot of a few tokens, as the scheduler writes it.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut context = small().context(config()).expect("a context");
    let mut batch = Batch::new(4);
    for at in 0..4 {
        batch.push(at + 3, at, 0, false);
    }
    context.decode(&batch).expect("tokens");
    let mut state = Vec::new();
    context.save_seq(0, &mut state).expect("a state");
    let mut file = b"TQSLOT\r\n".to_vec();
    file.extend(1_u32.to_le_bytes());
    file.extend(4_u32.to_le_bytes());
    file.extend([0; 8]);
    file.extend((3..7).flat_map(i32::to_le_bytes));
    file.extend(state);
    vec![slot_file::sealed(file)]
}

/// The checksum is set right first: it is no protection against intent, so what is behind it must hold.
pub fn restore(data: &[u8]) {
    let tokens = |data: &[u8]| data.get(12..16).and_then(|n| n.try_into().ok()).map(u32::from_le_bytes);
    let whole = tokens(data).is_some_and(|n| data.len() as u64 >= 24 + 4 * u64::from(n));
    let data = if whole {
        slot_file::sealed(data.to_vec())
    } else {
        data.to_vec()
    };
    let path = scratch().join("slot");
    std::fs::write(&path, data).expect("a file");
    SCHEDULER.with(|slot| {
        let scheduler = slot.get_or_init(|| {
            let context = small().context(config()).expect("a context");
            Scheduler::with(context, SchedulerConfig::default())
        });
        if let Ok(restored) = scheduler.restore_slot(0, &path) {
            assert!(restored.n_tokens <= 64);
            scheduler.erase_slot(0).expect("an erased slot");
        }
        assert_eq!(scheduler.stopped(), None);
    });
}
