//! How long a GGUF file has to be, from its head: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.
//!
//! The engine reads the head, too, but a file that ends within a tensor is an error there without these numbers.

use llama_turboquant::engine::codec::GgmlType;
use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _};
use std::path::Path;

/// Values per tensor are the product of at most this many numbers.
const MAX_DIMS: u32 = 4;
/// Where the head does not say another.
const ALIGNMENT: u64 = 32;
/// Names are a few words.
const MAX_NAME: u64 = 1 << 16;

/// What the head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes that the file must have.
    pub expected: u64,
    /// Files of the model; 1 unless it is in shards.
    pub files: u32,
}

/// Reads the head of the file at `path`.
///
/// # Errors
/// The reason why it cannot be read as a GGUF file.
pub(super) fn head(path: &Path) -> Result<Head, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let mut reader = Reader {
        file: BufReader::new(file),
        length,
    };
    reader.head().map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => format!("it ends within its head, after {length} bytes"),
        _ => error.to_string(),
    })
}

struct Reader {
    file: BufReader<File>,
    length: u64,
}

fn wrong(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl Reader {
    fn head(&mut self) -> io::Result<Head> {
        if &self.bytes::<4>()? != b"GGUF" {
            return Err(wrong("it is no GGUF file"));
        }
        let version = self.u32()?;
        if !(2..=3).contains(&version) {
            return Err(wrong(format!("it is GGUF of version {version}; 2 and 3 are known")));
        }
        let (tensors, pairs) = (self.count(8)?, self.count(8)?);
        let (mut alignment, mut files) = (ALIGNMENT, 1);
        for _ in 0..pairs {
            let key = self.name()?;
            let ty = self.u32()?;
            match (key.as_slice(), ty) {
                (b"general.alignment", 4) => alignment = u64::from(self.u32()?),
                (b"split.count", 2) => files = u32::from(u16::from_le_bytes(self.bytes()?)),
                _ => self.skip_value(ty)?,
            }
        }
        if !alignment.is_power_of_two() || alignment > 1 << 20 {
            return Err(wrong(format!("its alignment is {alignment}")));
        }
        let mut end = 0;
        for _ in 0..tensors {
            let name = self.name()?;
            let too_large = || {
                wrong(format!(
                    "its tensor {} is larger than a file can be",
                    String::from_utf8_lossy(&name)
                ))
            };
            let bytes = self.tensor(&name)?;
            let offset = self.u64()?;
            end = end.max(offset.checked_add(bytes).ok_or_else(too_large)?);
        }
        let start = self.file.stream_position()?.next_multiple_of(alignment);
        Ok(Head {
            expected: start
                .checked_add(end)
                .ok_or_else(|| wrong("its tensors are larger than a file can be"))?,
            files: files.max(1),
        })
    }

    /// Bytes of the tensor whose shape comes next.
    fn tensor(&mut self, name: &[u8]) -> io::Result<u64> {
        let label = || String::from_utf8_lossy(name).into_owned();
        let dims = self.u32()?;
        if dims > MAX_DIMS {
            return Err(wrong(format!("its tensor {} has {dims} dimensions", label())));
        }
        let mut row = 1;
        let mut rows: u64 = 1;
        for dim in 0..dims {
            let n = self.u64()?;
            if dim == 0 {
                row = n;
            } else {
                rows = rows
                    .checked_mul(n)
                    .ok_or_else(|| wrong(format!("its tensor {} is too large", label())))?;
            }
        }
        let id = i32::from_le_bytes(self.bytes()?);
        let ty = GgmlType::from_id(id).ok_or_else(|| {
            wrong(format!(
                "its tensor {} is of type {id}, which this engine does not know",
                label()
            ))
        })?;
        let row = usize::try_from(row).map_err(|_| wrong("a row is too large"))?;
        let bytes = ty
            .row_bytes(row)
            .map_err(|error| wrong(format!("its tensor {}: {error}", label())))?;
        (bytes as u64)
            .checked_mul(rows)
            .ok_or_else(|| wrong(format!("its tensor {} is too large", label())))
    }

    fn skip_value(&mut self, ty: u32) -> io::Result<()> {
        const STRING: u32 = 8;
        const ARRAY: u32 = 9;
        match ty {
            STRING => {
                let bytes = self.count(1)?;
                self.skip(bytes)
            }
            ARRAY => {
                let of = self.u32()?;
                match of {
                    ARRAY => Err(wrong("it has an array of arrays")),
                    STRING => {
                        for _ in 0..self.count(8)? {
                            let bytes = self.count(1)?;
                            self.skip(bytes)?;
                        }
                        Ok(())
                    }
                    _ => {
                        let each = size(of)?;
                        let count = self.count(each)?;
                        self.skip(count * each)
                    }
                }
            }
            _ => self.skip(size(ty)?),
        }
    }

    /// A number of things of at least `each` bytes: more than the file has room for is a lie.
    fn count(&mut self, each: u64) -> io::Result<u64> {
        let count = self.u64()?;
        if count > self.length / each {
            return Err(wrong(format!(
                "its head counts {count} entries, more than the file has room for"
            )));
        }
        Ok(count)
    }

    fn name(&mut self) -> io::Result<Vec<u8>> {
        let length = self.u64()?;
        if length > MAX_NAME {
            return Err(wrong(format!("its head has a name of {length} bytes")));
        }
        let mut name = vec![0; length as usize];
        self.file.read_exact(&mut name)?;
        Ok(name)
    }

    /// `count` bytes on; seeking beyond the end is no error by itself, so it is looked at here.
    fn skip(&mut self, count: u64) -> io::Result<()> {
        let there = self.file.stream_position()?;
        if count > self.length.saturating_sub(there) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file
            .seek_relative(i64::try_from(count).map_err(|_| wrong("a value is too long"))?)
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> io::Result<u32> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> io::Result<u64> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }
}

/// Bytes of a value of a fixed size.
fn size(ty: u32) -> io::Result<u64> {
    Ok(match ty {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        other => return Err(wrong(format!("its head has a value of type {other}"))),
    })
}
