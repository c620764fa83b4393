//! `--synthetic SHAPE`: a random model described in a few characters.

use llama_turboquant::engine::synth::SynthParams;
use std::fmt;
use std::str::FromStr;

/// The shape as written, and what it means.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    text: String,
    params: SynthParams,
}

impl Shape {
    /// The model's parameters, with room for `n_ctx` tokens.
    pub fn params(&self, n_ctx: u32) -> SynthParams {
        SynthParams {
            n_ctx: n_ctx.max(256),
            ..self.params.clone()
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const HOW: &str = "write LAYERSxHEADSxKV_HEADSxHEAD_DIM, for example 4x16x4x128:type=q8_0,vocab=8192";
        let (numbers, keys) = text.split_once(':').unwrap_or((text, ""));
        let counts: Vec<u32> = numbers
            .split('x')
            .map(|part| part.parse().map_err(|_| format!("`{part}` is no number; {HOW}")))
            .collect::<Result<_, _>>()?;
        let [layers, heads, kv_heads, head_dim] = counts[..] else {
            return Err(format!("`{numbers}` has {} numbers, not 4; {HOW}", counts.len()));
        };
        let mut params = SynthParams {
            layers,
            heads,
            kv_heads,
            head_dim,
            weight_type: "q8_0".into(),
            vocab: 8192,
            ..SynthParams::default()
        };
        for pair in keys.split(',').filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(format!("`{pair}` is not key=value; {HOW}"));
            };
            let number = || value.parse().map_err(|_| format!("{key}: `{value}` is no number"));
            match key {
                "arch" => params.arch = value.into(),
                "type" => params.weight_type = value.into(),
                "embd" => params.embd = number()?,
                "ff" => params.ff = number()?,
                "vocab" => params.vocab = number()?,
                "window" => params.window = number()?,
                "seed" => params.seed = number()?.into(),
                _ => {
                    return Err(format!(
                        "no key `{key}`; there are arch, type, embd, ff, vocab, window and seed"
                    ));
                }
            }
        }
        // what the engine knows of it (head counts, types, architectures), in its own words, before anything is written
        params.size().map_err(|e| e.to_string())?;
        Ok(Self {
            text: text.into(),
            params,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_four_numbers_and_keys() {
        let shape: Shape = "4x16x4x128:arch=qwen3,type=f16,embd=512,ff=256,vocab=1000,seed=3"
            .parse()
            .unwrap();
        let params = shape.params(9000);
        assert_eq!(
            (params.layers, params.heads, params.kv_heads, params.head_dim),
            (4, 16, 4, 128)
        );
        assert_eq!((params.embd, params.ff, params.vocab), (512, 256, 1000));
        assert_eq!((params.arch.as_str(), params.weight_type.as_str()), ("qwen3", "f16"));
        assert_eq!((params.n_ctx, params.seed), (9000, 3));
        assert!(shape.to_string().starts_with("4x16x4x128:"));
    }

    #[test]
    fn mistakes_are_named_before_anything_is_written() {
        for (text, part) in [
            ("4x16x4", "3 numbers"),
            ("4x16x4xbig", "`big`"),
            ("4x16x4x128:fast", "key=value"),
            ("4x16x4x128:speed=9", "`speed`"),
            ("4x16x4x128:ff=x", "`x`"),
            ("4x16x5x128", "heads"),
            ("4x16x4x128:arch=nothing", "nothing"),
        ] {
            let message = text.parse::<Shape>().unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
