//! Computing the images of prompts. An image is embeddings, which do not go into one batch with tokens: between the steps
//! that all slots share, one slot computes a part of one, as long as a step may take.

use super::slot::is_full;
use super::worker::Worker;
use crate::Error;
use std::time::Instant;

impl Worker {
    /// Computes some of the image that a prompt goes on with: of the job that began first, if several do.
    pub(super) fn step_image(&mut self) {
        let due = (0..self.slots.len()).filter(|&i| self.slots[i].next_image().is_some());
        let Some(number) = due.min_by_key(|&i| self.slots[i].started()) else {
            return;
        };
        let most = self.context.n_batch() as usize;
        let budget = self.pace.budget(self.company()).min(most);
        if !self.may_compute() {
            return;
        }
        let slot = &mut self.slots[number];
        let Some(image) = slot.next_image() else { return };
        let n = image.step(slot.image_done, budget);
        let start = Instant::now();
        let result = self
            .context
            .set_loras(&slot.loras)
            .and_then(|()| image.decode(&mut self.context, slot.seq, slot.image_done, n));
        self.shared.lock().computing = None;
        if result.is_ok() {
            self.pace.took(n, start.elapsed());
            self.shared.lock().decoded(1);
            return slot.image_computed(n);
        }
        // what is there of it goes: it is begun again, or of no use
        slot.cut(&mut self.context, slot.cached.len());
        if is_full(&result) {
            self.make_room();
        } else if let Err(error) = result
            && !matches!(error, Error::Cancelled)
        {
            slot.fail(error);
        }
    }

    /// A job that has ended while its image was computed leaves a part of it behind, which nothing can go on from.
    pub(super) fn drop_unfinished_images(&mut self) {
        for slot in &mut self.slots {
            if slot.running.is_none() && slot.image_done > 0 {
                slot.cut(&mut self.context, slot.cached.len());
            }
        }
    }
}
