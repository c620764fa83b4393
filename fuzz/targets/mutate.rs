//! Mutations that keep the shape of an input, so that it gets past the parser: one change at a time, chosen by a seed.

use serde_json::{Map, Number, Value, json};
use std::sync::OnceLock;

/// How an input is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A JSON document.
    Json,
    /// `METHOD path`, header lines, an empty line, a body that is mostly JSON.
    Request,
    /// UTF-8.
    Text,
    /// A GGUF file.
    Gguf,
    /// Anything.
    Bytes,
}

/// Numbers that look random and repeat (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// A changed copy of `data`, or `None` where it does not have the shape: then any bytes of it may change.
pub fn mutate(shape: Shape, data: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    match shape {
        Shape::Json => json_text(data, random),
        Shape::Request => request(data, random),
        Shape::Text => Some(text(std::str::from_utf8(data).ok()?, random).into_bytes()),
        Shape::Gguf => super::gguf_fields::change(data, random),
        Shape::Bytes => None,
    }
}

/// A changed copy whatever the shape.
pub fn any(shape: Shape, data: &[u8], random: &mut Random) -> Vec<u8> {
    match mutate(shape, data, random) {
        Some(changed) if !random.one_in(8) => changed,
        _ => bytes(data, random),
    }
}

fn json_text(data: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(data).ok()?;
    for _ in 0..=random.below(3) {
        change(&mut value, random);
    }
    serde_json::to_vec(&value).ok()
}

fn request(data: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let end = data.windows(2).position(|pair| pair == b"\n\n")?;
    let (head, body) = (&data[..end], &data[end + 2..]);
    let head = match random.below(12) {
        0 => {
            let (method, path) = random.pick(&words().routes).clone();
            format!("{method} {path}").into_bytes()
        }
        1 => text(std::str::from_utf8(head).ok()?, random).into_bytes(),
        _ => head.to_vec(),
    };
    let body = json_text(body, random).unwrap_or_else(|| body.to_vec());
    Some([&head[..], b"\n\n", &body].concat())
}

/// One change somewhere in `value`.
fn change(value: &mut Value, random: &mut Random) {
    let deeper = match value {
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => false,
    };
    if deeper && !random.one_in(4) {
        match value {
            Value::Array(list) => {
                let at = random.below(list.len());
                return change(&mut list[at], random);
            }
            Value::Object(map) => {
                let at = random.below(map.len());
                if let Some((_, child)) = map.iter_mut().nth(at) {
                    return change(child, random);
                }
            }
            _ => {}
        }
    }
    match value {
        Value::Array(list) => match random.below(5) {
            0 if !list.is_empty() => drop(list.remove(random.below(list.len()))),
            1 if !list.is_empty() => {
                let copy = random.pick(list).clone();
                list.extend((0..1 + random.below(40)).map(|_| copy.clone()));
            }
            2 => list.push(scalar(random)),
            3 if list.len() > 1 => {
                let (a, b) = (random.below(list.len()), random.below(list.len()));
                list.swap(a, b);
            }
            _ => *value = fresh(value, random),
        },
        Value::Object(map) => {
            let keys: Vec<String> = map.keys().cloned().collect();
            match random.below(6) {
                0 if !keys.is_empty() => drop(map.remove(random.pick(&keys))),
                1 if !keys.is_empty() => {
                    let copy = map[random.pick(&keys)].clone();
                    map.insert(random.pick(&words().keys).clone(), copy);
                }
                2 | 3 => {
                    let held = fresh(&Value::Null, random);
                    map.insert(random.pick(&words().keys).clone(), held);
                }
                _ => *value = fresh(value, random),
            }
        }
        Value::String(old) => {
            *value = match random.below(3) {
                0 => Value::String(text(old, random)),
                _ => fresh(value, random),
            }
        }
        _ => *value = fresh(value, random),
    }
}

/// Something in place of `old`.
fn fresh(old: &Value, random: &mut Random) -> Value {
    match random.below(10) {
        0 => json!([old]),
        1 => json!({ random.pick(&words().keys).as_str(): old }),
        2 => {
            let most = 1 << random.below(10);
            let depth = 1 + random.below(most);
            (0..depth).fold(old.clone(), |inner, _| json!([inner]))
        }
        3 => {
            let key = random.pick(&words().keys).clone();
            let most = 1 << random.below(8);
            let depth = 1 + random.below(most);
            (0..depth).fold(old.clone(), |inner, _| json!({ key.as_str(): inner }))
        }
        4 => {
            let mut map = Map::new();
            for _ in 0..random.below(6) {
                map.insert(random.pick(&words().keys).clone(), scalar(random));
            }
            Value::Object(map)
        }
        _ => scalar(random),
    }
}

fn scalar(random: &mut Random) -> Value {
    const NUMBERS: &[&str] = &[
        "0",
        "1",
        "-1",
        "2",
        "-2",
        "3",
        "7",
        "10",
        "100",
        "255",
        "256",
        "2000",
        "2001",
        "4096",
        "65536",
        "2147483647",
        "-2147483648",
        "2147483648",
        "4294967295",
        "4294967296",
        "9007199254740993",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551615",
        "0.5",
        "1.0",
        "-0.0",
        "0.1",
        "2.0000001",
        "1e-7",
        "1e300",
        "-1e300",
        "1e308",
        "4.9e-324",
        "3.5e38",
    ];
    match random.below(8) {
        0 => Value::Null,
        1 => Value::Bool(random.one_in(2)),
        2..=4 => random
            .pick(NUMBERS)
            .parse::<Number>()
            .map_or(Value::Null, Value::Number),
        5 => Value::String(random.pick(&words().values).clone()),
        6 => Value::String(text("", random)),
        _ => Value::String(random.pick(&words().keys).clone()),
    }
}

const PIECES: &[&str] = &[
    "",
    " ",
    "\n",
    "\"",
    "\\",
    "\0",
    "\u{feff}",
    "\u{fffd}",
    "ä",
    "😀",
    "<",
    ">",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "{{",
    "}}",
    "{%",
    "%}",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<|im_start|>",
    "<|im_end|>",
    "root ::= ",
    "\n x ::= ",
    "{0,",
    "{2000}",
    "*",
    "+",
    "?",
    "|",
    "[^",
    "\\u{10FFFF}",
    "\\x00",
    "-1",
    "0",
    "1e999",
    "null",
    "true",
    "..",
    "/",
    ":",
    "@",
    "=",
    ",",
    "#",
    "data:image/png;base64,",
    "=\"\"\"",
    "[[",
    "]]",
    "''",
    "for x in range(9)",
    "endfor",
    "if",
    "endif",
    "set x = ",
    "macro",
    "messages",
    "tools",
    "^",
    "$",
    "(?:",
    "\\d",
    "{1,}",
    "<s>",
    "</s>",
    "\t",
    "\r\n",
    "turbo3",
    "q8_0/turbo4",
    "--ctx-size",
    "FROM ",
    "PARAMETER ",
    "- ",
    "&a ",
    "*a",
];

/// One change of a text, between characters.
fn text(old: &str, random: &mut Random) -> String {
    let cut = |random: &mut Random| {
        let mut at = random.below(old.len() + 1);
        while !old.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let (a, b) = (cut(random), cut(random));
    let (a, b) = (a.min(b), a.max(b));
    match random.below(9) {
        0 => format!("{}{}", &old[..a], &old[b..]),
        1 => format!("{}{}{}", &old[..b], &old[a..b], &old[b..]),
        2 => {
            let many = 1 << random.below(10);
            let piece = random.pick(PIECES);
            format!("{}{}{}", &old[..a], piece.repeat(many), &old[a..])
        }
        3 => format!("{}{}{}", &old[..a], random.pick(&words().keys), &old[a..]),
        4 => format!("{}{}{}", &old[..a], random.pick(&words().values), &old[a..]),
        5 => {
            let many = 2 + random.below(30);
            format!(
                "{}{}{}",
                &old[..a],
                old[a..b].repeat(many.min(1 + 4096 / (b - a + 1))),
                &old[b..]
            )
        }
        6 => {
            let char = char::from_u32(random.next() as u32 % 0x11_0000).unwrap_or('\u{fffd}');
            format!("{}{char}{}", &old[..a], &old[a..])
        }
        7 => format!("{}{}{}", &old[..a], random.pick(PIECES), &old[b..]),
        _ => format!("{}{}{}", &old[..a], random.pick(PIECES), &old[a..]),
    }
}

/// One change of any bytes.
fn bytes(old: &[u8], random: &mut Random) -> Vec<u8> {
    let mut data = old.to_vec();
    if data.is_empty() {
        return vec![random.next() as u8];
    }
    for _ in 0..=random.below(4) {
        let at = random.below(data.len());
        match random.below(6) {
            0 => data[at] ^= 1 << random.below(8),
            1 => data[at] = random.next() as u8,
            2 => data.truncate(at.max(1)),
            3 => {
                let end = (at + 1 + random.below(16)).min(data.len());
                let piece = data[at..end].to_vec();
                data.splice(at..at, piece);
            }
            4 => {
                let number: u64 = *random.pick(&[0, 1, 0x7fff_ffff, 0xffff_ffff, 1 << 40, u64::MAX / 2, u64::MAX]);
                let wide = *random.pick(&[1, 2, 4, 8]);
                for (slot, byte) in data[at..].iter_mut().zip(number.to_le_bytes().into_iter().take(wide)) {
                    *slot = byte;
                }
            }
            _ => {
                let end = (at + 1 + random.below(16)).min(data.len());
                data.drain(at..end);
                if data.is_empty() {
                    data.push(0);
                }
            }
        }
    }
    data
}

/// Names that mean something to what is fuzzed, from the description of the API itself.
struct Words {
    keys: Vec<String>,
    values: Vec<String>,
    routes: Vec<(String, String)>,
}

fn words() -> &'static Words {
    static WORDS: OnceLock<Words> = OnceLock::new();
    WORDS.get_or_init(|| {
        let api: Value = serde_json::from_str(include_str!("../../cli/tests/data/openapi.json")).expect("the API's description");
        let mut words = Words { keys: Vec::new(), values: Vec::new(), routes: Vec::new() };
        collect(&api, &mut words);
        for (path, methods) in api["paths"].as_object().into_iter().flatten() {
            for method in methods.as_object().into_iter().flatten().map(|(method, _)| method.to_ascii_uppercase()) {
                words.routes.push((method, path.replace("{id}", "0")));
            }
        }
        let schema = "$ref $defs definitions type properties required additionalProperties items prefixItems minItems maxItems minLength \
                      maxLength minimum maximum exclusiveMinimum exclusiveMaximum pattern format enum const anyOf oneOf allOf not title \
                      uniqueItems nullable";
        words.keys.extend(schema.split_whitespace().map(str::to_owned));
        let values = "string number integer boolean null object array date-time uuid #/$defs/a #/properties/a # a .* ^a{1,3}$ function \
                      user assistant system tool developer text image_url input_text auto none required any json_schema json_object";
        words.values.extend(values.split_whitespace().map(str::to_owned));
        for list in [&mut words.keys, &mut words.values] {
            list.sort();
            list.dedup();
        }
        words
    })
}

fn collect(value: &Value, words: &mut Words) {
    match value {
        Value::Object(map) => {
            for (key, child) in map {
                if let (true, Some(properties)) = (key == "properties", child.as_object()) {
                    words.keys.extend(properties.keys().cloned());
                }
                if let (true, Some(list)) = (key == "enum", child.as_array()) {
                    words
                        .values
                        .extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
                }
                collect(child, words);
            }
        }
        Value::Array(list) => list.iter().for_each(|child| collect(child, words)),
        _ => {}
    }
}
