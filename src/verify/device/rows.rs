//! Operators that move rows: the codec on the device against the reference codec.

use super::Operators;
use super::cells::RowsKind;
use super::compare::{BlockMatch, compare_block, differing_values};
use super::result::Verdict;
use crate::engine::codec::{GgmlType, Implementation, TurboType};
use crate::engine::device_probe::{RowsOp, RowsShape};
use crate::engine::probe;
use crate::error::Result;
use crate::verify::rng::Rng;
use crate::verify::vectors::edge_vectors;

/// Blocks per row: more than one, and no power of two.
const BLOCKS: usize = 3;

/// Rows of the destination that nothing is written to.
const UNTOUCHED: usize = 3;

/// What those rows hold, before and after.
const MARK: u8 = 0xa5;

/// Ties above this share of the blocks are no accident. A last bit of the scale's float32 arithmetic decides its rounding to
/// fp16 in about one block of 2^13.
const MOST_TIES: f64 = 0.01;

/// Runs one operator on edge vectors and `random` random blocks.
pub(super) fn check(
    device: &mut dyn Operators,
    reference: &Implementation,
    ty: &TurboType,
    kind: RowsKind,
    random: usize,
) -> Result<Verdict> {
    let bench = Bench {
        device,
        reference,
        ty,
        ggml: ty.ggml()?,
        rng: Rng::new(0x0c0d_ec00 + ty.id as u64),
    };
    match kind {
        RowsKind::Set { from, wide_ids } => bench.encode(from, RowsOp::Set { wide_ids }, random),
        RowsKind::Encode { from } => bench.encode(from, RowsOp::Copy, random),
        RowsKind::Decode { to } => bench.decode(to, RowsOp::Copy, random),
        RowsKind::Get => bench.decode("f32", RowsOp::Get, random),
    }
}

struct Bench<'a> {
    device: &'a mut dyn Operators,
    reference: &'a Implementation,
    ty: &'a TurboType,
    ggml: GgmlType,
    rng: Rng,
}

impl Bench<'_> {
    /// Whole rows of named blocks.
    fn blocks(&mut self, random: usize) -> Vec<(String, Vec<f32>)> {
        let mut blocks = edge_vectors(self.ty.block, &mut self.rng);
        for number in 0..random {
            let x = self.rng.normals(self.ty.block);
            blocks.push((format!("random block {number}"), x));
        }
        while !blocks.len().is_multiple_of(BLOCKS) {
            blocks.push(("padding".into(), vec![0.0; self.ty.block]));
        }
        blocks
    }

    /// The numbers below `n`, in no order.
    fn shuffled(&mut self, n: usize) -> Vec<i32> {
        let mut ids: Vec<i32> = (0..n as i32).collect();
        for last in (1..n).rev() {
            ids.swap(last, self.rng.below(last + 1));
        }
        ids
    }

    fn encode(mut self, from: &str, op: RowsOp, random: usize) -> Result<Verdict> {
        let from = GgmlType::named(from)?;
        let (names, values): (Vec<String>, Vec<Vec<f32>>) = self.blocks(random).into_iter().unzip();
        let bytes = probe::quantize(from, &values.concat())?;
        // what the device sees: f16 has rounded it
        let x = probe::dequantize(from, &bytes)?;
        let rows = names.len() / BLOCKS;
        let copy = op == RowsOp::Copy;
        let rows_to = if copy { rows } else { rows + UNTOUCHED };
        let ids = if copy {
            Vec::new()
        } else {
            let mut ids = self.shuffled(rows_to);
            ids.truncate(rows);
            ids
        };
        let shape = RowsShape {
            op,
            from,
            to: self.ggml,
            n: BLOCKS * self.ty.block,
            rows_from: rows,
            rows_to,
        };
        let row = BLOCKS * self.ty.bytes;
        let mut to = vec![MARK; rows_to * row];
        if !self.device.rows(&shape, &bytes, &ids, &mut to)? {
            return Ok(Verdict::Refused);
        }
        let mut written = vec![false; rows_to];
        let (mut ties, mut wrong, mut tied_example) = (0, Vec::new(), None);
        for source in 0..rows {
            let target = ids.get(source).map_or(source, |id| *id as usize);
            written[target] = true;
            for block in 0..BLOCKS {
                let number = source * BLOCKS + block;
                let x = &x[number * self.ty.block..][..self.ty.block];
                let got = &to[target * row + block * self.ty.bytes..][..self.ty.bytes];
                let expected = self.reference.encode(self.ggml, x)?;
                let decoded = [
                    self.reference.decode(self.ggml, &expected)?,
                    self.reference.decode(self.ggml, got)?,
                ];
                match compare_block(x, [&expected, got], [&decoded[0], &decoded[1]]) {
                    BlockMatch::Same => {}
                    BlockMatch::Tie => {
                        ties += 1;
                        tied_example.get_or_insert_with(|| names[number].clone());
                    }
                    BlockMatch::Different => wrong.push(format!(
                        "{}: bytes {} instead of {}",
                        names[number],
                        hex(got),
                        hex(&expected)
                    )),
                }
            }
        }
        let spilled = (0..rows_to).filter(|&r| !written[r] && to[r * row..][..row].iter().any(|b| *b != MARK));
        let spilled: Vec<String> = spilled
            .map(|r| format!("row {r} was written, and should not be"))
            .collect();
        wrong.extend(spilled);
        let share = ties as f64 / names.len() as f64;
        if share > MOST_TIES {
            let example = tied_example.unwrap_or_default();
            wrong.push(format!("{ties} ties in {} blocks, {example} first", names.len()));
        }
        Ok(Verdict::exact(names.len(), ties, wrong))
    }

    fn decode(mut self, to: &str, op: RowsOp, random: usize) -> Result<Verdict> {
        let to = GgmlType::named(to)?;
        let mut packed = Vec::new();
        let mut names = Vec::new();
        for (name, x) in self.blocks(random) {
            packed.extend(self.reference.encode(self.ggml, &x)?);
            names.push(name);
        }
        for round in 0..BLOCKS {
            // any bits, but for a scale that is no number: its payload is nobody's promise
            let mut block: Vec<u8> = (0..self.ty.bytes).map(|_| self.rng.bits() as u8).collect();
            let scale = [self.rng.below(0x7c01), self.rng.below(0x400), 0x7c00][round % 3] as u16;
            block[..2].copy_from_slice(&scale.to_le_bytes());
            packed.extend(block);
            names.push(format!("random bytes, scale {scale:#06x}"));
        }
        let rows = names.len() / BLOCKS;
        let n = BLOCKS * self.ty.block;
        // each row once, in no order, the last one twice
        let ids: Vec<i32> = match op {
            RowsOp::Get => {
                let mut ids = self.shuffled(rows);
                ids.push(rows as i32 - 1);
                ids
            }
            _ => Vec::new(),
        };
        let rows_to = if ids.is_empty() { rows } else { ids.len() };
        let shape = RowsShape {
            op,
            from: self.ggml,
            to,
            n,
            rows_from: rows,
            rows_to,
        };
        let mut out = vec![MARK; to.row_bytes(n)? * rows_to];
        if !self.device.rows(&shape, &packed, &ids, &mut out)? {
            return Ok(Verdict::Refused);
        }
        let got = probe::dequantize(to, &out)?;
        let exact = self.reference.decode(self.ggml, &packed)?;
        let rounded = probe::dequantize(to, &probe::quantize(to, &exact)?)?;
        let mut wrong = Vec::new();
        for target in 0..rows_to {
            let source = ids.get(target).map_or(target, |id| *id as usize);
            for block in 0..BLOCKS {
                let expected = &rounded[source * n + block * self.ty.block..][..self.ty.block];
                let got = &got[target * n + block * self.ty.block..][..self.ty.block];
                let differ = differing_values(expected, got);
                if differ > 0 {
                    let name = &names[source * BLOCKS + block];
                    wrong.push(format!("{name}: {differ} of {} values differ", self.ty.block));
                }
            }
        }
        Ok(Verdict::exact(rows_to * BLOCKS, 0, wrong))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
