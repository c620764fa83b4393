//! Projectors with random weights, small enough to be made in every test program; and pictures for them.
#![allow(dead_code)] // each test program uses its part

use std::path::Path;

/// What kind of projector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// LLaVA: pictures of 32x32 pixels, 16 tokens.
    Mlp,
    /// Gemma 3: an image is computed without a causal mask; 4 tokens between `<start_of_image>` and `<end_of_image>`.
    Gemma3,
    /// Qwen2-VL: pictures of any size, positions in sections.
    Qwen2Vl,
}

const WIDTH: u64 = 32;
const PATCH: u64 = 8;

/// Writes a projector to a model whose embeddings have `n_embd` values.
pub fn write(path: &Path, kind: Kind, n_embd: u64) {
    let mut file = Gguf::default();
    file.text("general.architecture", "clip");
    file.flag("clip.has_vision_encoder");
    file.flag("clip.use_gelu");
    let name = match kind {
        Kind::Mlp => "mlp",
        Kind::Gemma3 => "gemma3",
        Kind::Qwen2Vl => "qwen2vl_merger",
    };
    file.text("clip.projector_type", name);
    for (key, value) in [
        ("embedding_length", WIDTH),
        ("feed_forward_length", 64),
        ("block_count", 2),
        ("projection_dim", n_embd),
        ("attention.head_count", 2),
        ("image_size", 32),
        ("patch_size", PATCH),
        ("projector.scale_factor", 2),
    ] {
        file.number(&format!("clip.vision.{key}"), value as u32);
    }
    file.real("clip.vision.attention.layer_norm_epsilon", 1e-5);
    file.reals("clip.vision.image_mean", &[0.5; 3]);
    file.reals("clip.vision.image_std", &[0.5; 3]);

    let patch = [PATCH, PATCH, 3, WIDTH];
    file.tensor("v.patch_embd.weight", &patch, 0.1);
    if kind == Kind::Qwen2Vl {
        file.tensor("v.patch_embd.weight.1", &patch, 0.1);
    } else {
        file.tensor("v.position_embd.weight", &[WIDTH, 16], 0.2);
    }
    for layer in 0..2 {
        let block = |name: &str| format!("v.blk.{layer}.{name}");
        for name in ["attn_q", "attn_k", "attn_v", "attn_out"] {
            file.tensor(&block(&format!("{name}.weight")), &[WIDTH, WIDTH], 0.2);
            file.tensor(&block(&format!("{name}.bias")), &[WIDTH], 0.1);
        }
        for name in ["ln1", "ln2"] {
            file.ones(&block(&format!("{name}.weight")), WIDTH);
            file.tensor(&block(&format!("{name}.bias")), &[WIDTH], 0.1);
        }
        for (name, shape) in [("ffn_up", [WIDTH, 64]), ("ffn_down", [64, WIDTH])] {
            file.tensor(&block(&format!("{name}.weight")), &shape, 0.2);
            file.tensor(&block(&format!("{name}.bias")), &[shape[1]], 0.1);
        }
    }
    match kind {
        Kind::Mlp | Kind::Qwen2Vl => {
            let merged = if kind == Kind::Mlp { WIDTH } else { 4 * WIDTH };
            file.tensor("mm.0.weight", &[merged, 64], 0.3);
            file.tensor("mm.0.bias", &[64], 0.1);
            file.tensor("mm.2.weight", &[64, n_embd], 0.1);
            file.tensor("mm.2.bias", &[n_embd], 0.1);
        }
        Kind::Gemma3 => {
            file.ones("mm.soft_emb_norm.weight", WIDTH);
            file.tensor("mm.input_projection.weight", &[n_embd, WIDTH], 0.2);
        }
    }
    std::fs::write(path, file.bytes()).expect("a projector");
}

/// A file of format GGUF version 3.
#[derive(Default)]
struct Gguf {
    keys: Vec<u8>,
    n_keys: u64,
    tensors: Vec<u8>,
    n_tensors: u64,
    data: Vec<u8>,
}

const ALIGNMENT: usize = 32;

fn string(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text.as_bytes());
}

impl Gguf {
    fn key(&mut self, name: &str, kind: u32) -> &mut Vec<u8> {
        self.n_keys += 1;
        string(&mut self.keys, name);
        self.keys.extend(kind.to_le_bytes());
        &mut self.keys
    }

    fn number(&mut self, name: &str, value: u32) {
        self.key(name, 4).extend(value.to_le_bytes());
    }

    fn real(&mut self, name: &str, value: f32) {
        self.key(name, 6).extend(value.to_le_bytes());
    }

    fn flag(&mut self, name: &str) {
        self.key(name, 7).push(1);
    }

    fn text(&mut self, name: &str, value: &str) {
        string(self.key(name, 8), value);
    }

    fn reals(&mut self, name: &str, values: &[f32]) {
        let to = self.key(name, 9);
        to.extend(6_u32.to_le_bytes());
        to.extend((values.len() as u64).to_le_bytes());
        to.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    /// Values around 0, the same in every file.
    fn tensor(&mut self, name: &str, shape: &[u64], deviation: f32) {
        let mut state = self.n_tensors as u32 + 1;
        let n: u64 = shape.iter().product();
        let values = (0..n).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let uniform = (state >> 8) as f32 / (1 << 24) as f32 - 0.5;
            uniform * 12_f32.sqrt() * deviation
        });
        let values: Vec<f32> = values.collect();
        self.values(name, shape, &values);
    }

    fn ones(&mut self, name: &str, n: u64) {
        self.values(name, &[n], &vec![1.0; n as usize]);
    }

    fn values(&mut self, name: &str, shape: &[u64], values: &[f32]) {
        self.n_tensors += 1;
        string(&mut self.tensors, name);
        self.tensors.extend((shape.len() as u32).to_le_bytes());
        self.tensors.extend(shape.iter().flat_map(|n| n.to_le_bytes()));
        self.tensors.extend(0_u32.to_le_bytes()); // f32
        self.tensors.extend((self.data.len() as u64).to_le_bytes());
        self.data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.data.resize(self.data.len().next_multiple_of(ALIGNMENT), 0);
    }

    fn bytes(&self) -> Vec<u8> {
        let mut all = b"GGUF".to_vec();
        all.extend(3_u32.to_le_bytes());
        all.extend(self.n_tensors.to_le_bytes());
        all.extend(self.n_keys.to_le_bytes());
        all.extend(&self.keys);
        all.extend(&self.tensors);
        all.resize(all.len().next_multiple_of(ALIGNMENT), 0);
        all.extend(&self.data);
        all
    }
}

/// A picture file (BMP) of random pixels.
pub fn picture(width: u32, height: u32, seed: u32) -> Vec<u8> {
    let row = (3 * width).next_multiple_of(4);
    let mut file = b"BM".to_vec();
    for word in [54 + row * height, 0, 54, 40, width, height] {
        file.extend(word.to_le_bytes());
    }
    file.extend([1, 0, 24, 0]); // one plane, 24 bits
    for word in [0, row * height, 0, 0, 0, 0] {
        file.extend(word.to_le_bytes());
    }
    let mut state = seed;
    for _ in 0..row * height {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        file.push((state >> 24) as u8);
    }
    file
}
