//! Changes of GGUF files field by field: random bytes would hit weights, of which every value is as good as another.

use super::mutate::Random;
use std::ops::Range;

/// One field of the header.
struct Field {
    at: Range<usize>,
    /// A text; otherwise a number.
    text: bool,
}

struct Reader<'a> {
    data: &'a [u8],
    at: usize,
    fields: Vec<Field>,
}

impl Reader<'_> {
    fn number(&mut self, bytes: usize) -> Option<u64> {
        let field = self.data.get(self.at..self.at + bytes)?;
        let value = field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        self.fields.push(Field {
            at: self.at..self.at + bytes,
            text: false,
        });
        self.at += bytes;
        Some(value)
    }

    fn text(&mut self) -> Option<()> {
        let len = usize::try_from(self.number(8)?).ok()?;
        let end = self.at.checked_add(len).filter(|end| *end <= self.data.len())?;
        self.fields.push(Field {
            at: self.at..end,
            text: true,
        });
        self.at = end;
        Some(())
    }

    fn value(&mut self, kind: u64) -> Option<()> {
        match kind {
            0 | 1 | 7 => self.number(1).map(drop),
            2 | 3 => self.number(2).map(drop),
            4..=6 => self.number(4).map(drop),
            8 => self.text(),
            9 => {
                let kind = self.number(4)?;
                (0..self.number(8)?.min(4096)).try_for_each(|_| self.value(kind))
            }
            10..=12 => self.number(8).map(drop),
            _ => None,
        }
    }

    fn header(&mut self) -> Option<()> {
        self.at = 4;
        self.number(4)?;
        let (tensors, keys) = (self.number(8)?, self.number(8)?);
        for _ in 0..keys.min(4096) {
            self.text()?;
            let kind = self.number(4)?;
            self.value(kind)?;
        }
        for _ in 0..tensors.min(4096) {
            self.text()?;
            for _ in 0..self.number(4)?.min(8) {
                self.number(8)?;
            }
            self.number(4)?;
            self.number(8)?;
        }
        Some(())
    }
}

/// A copy with some fields changed; `None` for what is no GGUF file.
pub fn change(data: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut reader = Reader {
        data,
        at: 0,
        fields: Vec::new(),
    };
    if !data.starts_with(b"GGUF") {
        return None;
    }
    reader.header(); // as far as it goes
    let fields = reader.fields;
    if fields.is_empty() {
        return None;
    }
    let mut changed = data.to_vec();
    // From the last to the first, so that places stay true. Most fields are of the vocabulary: half the time others are meant.
    let mut chosen: Vec<usize> = (0..1 + random.below(4)).map(|_| choose(&fields, random)).collect();
    chosen.sort_unstable();
    chosen.dedup();
    for at in chosen.into_iter().rev() {
        let field = &fields[at];
        if !field.text {
            let number = number(&data[field.at.clone()], random);
            changed.splice(field.at.clone(), number);
        } else if random.one_in(3) {
            // of another length, which is in the field before
            let other = random
                .pick(&fields.iter().filter(|field| field.text).collect::<Vec<_>>())
                .at
                .clone();
            let text = data[other].to_vec();
            let len = field.at.start - 8..field.at.start;
            changed.splice(field.at.clone(), text.iter().copied());
            changed.splice(len, (text.len() as u64).to_le_bytes());
        } else if !field.at.is_empty() {
            let byte = field.at.start + random.below(field.at.len());
            changed[byte] = *random.pick(b"\0 .-_/<>0129azAZ\x7f\x80\xff");
        }
    }
    if random.one_in(16) {
        changed.truncate(random.below(changed.len() + 1));
    }
    Some(changed)
}

fn choose(fields: &[Field], random: &mut Random) -> usize {
    let near = fields.len().min(160);
    match random.below(4) {
        0 => random.below(fields.len()),
        1 => fields.len() - 1 - random.below(near),
        _ => random.below(near),
    }
}

fn number(old: &[u8], random: &mut Random) -> Vec<u8> {
    const NUMBERS: &[u64] = &[
        0,
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
        10,
        11,
        12,
        13,
        16,
        31,
        32,
        33,
        64,
        100,
        127,
        128,
        255,
        256,
        300,
        1 << 10,
        0x7fff,
        0xffff,
        1 << 16,
        1 << 20,
        1 << 24,
        1 << 30,
        0x7fff_ffff,
        1 << 31,
        0xffff_ffff,
        1 << 32,
        1 << 40,
        1 << 62,
        u64::MAX / 2,
        1 << 63,
        u64::MAX,
        0x7f80_0000,
        0xff80_0000,
        0x7fc0_0000,
        0x3f80_0000,
    ];
    let value = old
        .iter()
        .rev()
        .fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let value = match random.below(6) {
        0 => value.wrapping_add(1),
        1 => value.wrapping_sub(1),
        2 => value ^ 1 << random.below(8 * old.len()),
        3 => value.wrapping_mul(2),
        _ => *random.pick(NUMBERS),
    };
    value.to_le_bytes()[..old.len()].to_vec()
}
