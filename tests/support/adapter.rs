//! LoRA adapters as files, written field by field so that tests can also write wrong ones; and models with an adapter merged
//! into their weights.
#![allow(dead_code)] // each test program uses its part

use std::ops::Range;

/// A value of GGUF's metadata.
#[derive(Debug, Clone)]
pub enum Value {
    U32(u32),
    F32(f32),
    Text(String),
    /// An array of u32.
    Tokens(Vec<u32>),
    /// An array of i32.
    Signed(Vec<i32>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

/// A tensor of f32 values; `ty` may claim another type.
#[derive(Debug, Clone)]
pub struct Tensor {
    pub name: String,
    /// Sizes, the innermost first.
    pub ne: Vec<u64>,
    pub ty: u32,
    pub data: Vec<f32>,
}

/// The file of an adapter.
#[derive(Debug, Clone)]
pub struct AdapterFile {
    pub metadata: Vec<(String, Value)>,
    pub tensors: Vec<Tensor>,
}

/// Numbers between -1 and 1 that look random.
fn noise(seed: u32, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

impl AdapterFile {
    /// An adapter for `architecture` that changes nothing yet.
    pub fn of(architecture: &str, alpha: f32) -> Self {
        Self {
            metadata: vec![
                ("general.architecture".into(), architecture.into()),
                ("general.type".into(), "adapter".into()),
                ("general.name".into(), "Test adapter".into()),
                ("adapter.type".into(), "lora".into()),
                ("adapter.lora.alpha".into(), Value::F32(alpha)),
            ],
            tensors: Vec::new(),
        }
    }

    /// Random factors of `rank` for a matrix of that many inputs and outputs.
    pub fn change(mut self, matrix: &str, (inputs, outputs): (u64, u64), rank: u64, seed: u32, size: f32) -> Self {
        let factor = |name: &str, ne: [u64; 2], seed| Tensor {
            name: format!("{matrix}.{name}"),
            ne: ne.to_vec(),
            ty: 0,
            data: noise(seed, (ne[0] * ne[1]) as usize).iter().map(|x| x * size).collect(),
        };
        self.tensors.push(factor("lora_a", [inputs, rank], seed));
        self.tensors.push(factor("lora_b", [rank, outputs], seed + 1));
        self
    }

    /// With another value for a key, or without the key.
    pub fn with(mut self, key: &str, value: impl Into<Option<Value>>) -> Self {
        self.metadata.retain(|(known, _)| known != key);
        self.metadata.extend(value.into().map(|value| (key.to_owned(), value)));
        self
    }

    /// With the tensors edited.
    pub fn edited(mut self, edit: impl FnOnce(&mut Vec<Tensor>)) -> Self {
        edit(&mut self.tensors);
        self
    }

    /// The file (GGUF, version 3).
    pub fn bytes(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(3_u32.to_le_bytes());
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            text(&mut file, key);
            match value {
                Value::U32(value) => {
                    file.extend(4_u32.to_le_bytes());
                    file.extend(value.to_le_bytes());
                }
                Value::F32(value) => {
                    file.extend(6_u32.to_le_bytes());
                    file.extend(value.to_le_bytes());
                }
                Value::Text(value) => {
                    file.extend(8_u32.to_le_bytes());
                    text(&mut file, value);
                }
                Value::Tokens(values) => array(&mut file, 4, values.iter().map(|value| value.to_le_bytes())),
                Value::Signed(values) => array(&mut file, 5, values.iter().map(|value| value.to_le_bytes())),
            }
        }
        let mut offset = 0_u64;
        for tensor in &self.tensors {
            text(&mut file, &tensor.name);
            file.extend((tensor.ne.len() as u32).to_le_bytes());
            tensor.ne.iter().for_each(|n| file.extend(n.to_le_bytes()));
            file.extend(tensor.ty.to_le_bytes());
            file.extend(offset.to_le_bytes());
            // where the type gives it: f32 unless a test says otherwise
            let size = tensor.ne.iter().fold(4_u64, |size, n| size.saturating_mul(*n));
            offset = offset.saturating_add(size.next_multiple_of(32));
        }
        for tensor in &self.tensors {
            file.resize(file.len().next_multiple_of(32), 0);
            tensor.data.iter().for_each(|x| file.extend(x.to_le_bytes()));
        }
        file.resize(file.len().next_multiple_of(32), 0);
        file
    }

    /// A model of f32 weights with `scale * alpha / rank * B * A` added to its matrices.
    pub fn merged_into(&self, model: &[u8], scale: f32) -> Vec<u8> {
        let alpha = self.metadata.iter().find_map(|(key, value)| match value {
            Value::F32(alpha) if key == "adapter.lora.alpha" => Some(*alpha),
            _ => None,
        });
        let mut merged = model.to_vec();
        for pair in self.tensors.chunks(2) {
            let (a, b) = (&pair[0], &pair[1]);
            let (inputs, rank) = (a.ne[0] as usize, a.ne[1] as usize);
            let factor = scale
                * alpha
                    .filter(|alpha| *alpha != 0.0)
                    .map_or(1.0, |alpha| alpha / rank as f32);
            let matrix = a.name.strip_suffix(".lora_a").expect("A comes first");
            let weights = &mut merged[data_of(model, matrix)];
            assert_eq!(weights.len(), 4 * inputs * b.ne[1] as usize, "{matrix} has f32 weights");
            for (at, weight) in weights.chunks_exact_mut(4).enumerate() {
                let (output, input) = (at / inputs, at % inputs);
                let product: f32 = (0..rank)
                    .map(|k| b.data[output * rank + k] * a.data[k * inputs + input])
                    .sum();
                let old = f32::from_le_bytes(weight.try_into().expect("four bytes"));
                weight.copy_from_slice(&(old + factor * product).to_le_bytes());
            }
        }
        merged
    }
}

fn text(file: &mut Vec<u8>, text: &str) {
    file.extend((text.len() as u64).to_le_bytes());
    file.extend(text.as_bytes());
}

fn array(file: &mut Vec<u8>, ty: u32, values: impl ExactSizeIterator<Item = [u8; 4]>) {
    file.extend(9_u32.to_le_bytes());
    file.extend(ty.to_le_bytes());
    file.extend((values.len() as u64).to_le_bytes());
    values.for_each(|value| file.extend(value));
}

/// Reads a GGUF file that is known to be a good one.
struct Reader<'a> {
    file: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let bytes = self.file[self.at..self.at + N].try_into().expect("N bytes");
        self.at += N;
        bytes
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn text(&mut self) -> String {
        let len = self.u64() as usize;
        self.at += len;
        String::from_utf8_lossy(&self.file[self.at - len..self.at]).into_owned()
    }

    fn skip(&mut self, ty: u32) {
        match ty {
            0 | 1 | 7 => self.at += 1,
            2 | 3 => self.at += 2,
            4..=6 => self.at += 4,
            10..=12 => self.at += 8,
            8 => drop(self.text()),
            9 => {
                let (ty, n) = (self.u32(), self.u64());
                (0..n).for_each(|_| self.skip(ty));
            }
            other => panic!("type {other}"),
        }
    }
}

/// Where the f32 values of a tensor lie in a GGUF file.
fn data_of(file: &[u8], name: &str) -> Range<usize> {
    let mut reader = Reader { file, at: 8 };
    let (tensors, keys) = (reader.u64(), reader.u64());
    for _ in 0..keys {
        reader.text();
        let ty = reader.u32();
        reader.skip(ty);
    }
    let mut found = None;
    for _ in 0..tensors {
        let this = reader.text();
        let dimensions = reader.u32();
        let values: u64 = (0..dimensions).map(|_| reader.u64()).product();
        let (ty, offset) = (reader.u32(), reader.u64());
        if this == name {
            assert_eq!(ty, 0, "{name} is f32");
            found = Some((offset as usize, 4 * values as usize));
        }
    }
    let (offset, len) = found.expect("the tensor");
    let start = reader.at.next_multiple_of(32) + offset;
    start..start + len
}

/// Matrices of the embedded model: its queries and the last part of its feed-forward network, in some layers, changed enough
/// to change its answers.
pub fn for_tiny(seed: u32) -> AdapterFile {
    [1, 4, 6].iter().fold(AdapterFile::of("qwen3", 8.0), |file, layer| {
        file.change(
            &format!("blk.{layer}.attn_q.weight"),
            (256, 512),
            4,
            seed + 10 * layer,
            0.3,
        )
        .change(
            &format!("blk.{layer}.ffn_down.weight"),
            (576, 256),
            4,
            seed + 10 * layer + 5,
            0.3,
        )
    })
}
