//! Picture files, which come from anybody: read in safe code, and within limits.

use crate::{Error, Result};
use ::image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use sha2::{Digest, Sha256};
use std::fmt;
use std::io::Cursor;

/// What a picture may be. It is looked at before its pixels are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLimits {
    /// Bytes of the file.
    pub bytes: usize,
    /// Pixels, width times height. Reading one takes up to 8 bytes for each.
    pub pixels: u64,
    /// How many times longer than the other one side may be: projectors scale a picture by its longer side, and of such a
    /// one nothing would be left.
    pub aspect: u32,
}

impl Default for ImageLimits {
    /// 32 MiB, 64 megapixels, 200 to 1.
    fn default() -> Self {
        Self {
            bytes: 32 << 20,
            pixels: 64_000_000,
            aspect: 200,
        }
    }
}

/// A picture: RGB pixels, 8 bits each, rows from the top.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
    hash: [u8; 32],
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({}x{})", self.width, self.height)
    }
}

impl Image {
    /// Reads a PNG, JPEG, GIF (its first picture), BMP or WebP file, turned as its EXIF data says. Transparency is dropped,
    /// as llama.cpp does.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the reason for anything else, for a damaged file, and for one beyond the limits.
    pub fn decode(file: &[u8], limits: ImageLimits) -> Result<Self> {
        let refuse = |text: String| Err(Error::Invalid(text));
        if file.is_empty() {
            return refuse("the image has no bytes".into());
        }
        if file.len() > limits.bytes {
            return refuse(format!(
                "the image has {} bytes; at most {} are taken",
                file.len(),
                limits.bytes
            ));
        }
        let format = match ::image::guess_format(file) {
            Ok(
                format @ (ImageFormat::Png
                | ImageFormat::Jpeg
                | ImageFormat::Gif
                | ImageFormat::Bmp
                | ImageFormat::WebP),
            ) => format,
            _ => return refuse("the image is no PNG, JPEG, GIF, BMP or WebP file".into()),
        };
        let damaged = |error: ::image::ImageError| {
            Error::Invalid(format!("the image cannot be read as {}: {error}", name_of(format)))
        };
        let mut reader = ImageReader::with_format(Cursor::new(file), format);
        let mut memory = Limits::no_limits();
        memory.max_alloc = Some(limits.pixels.saturating_mul(8).saturating_add(16 << 20));
        reader.limits(memory);
        let mut decoder = reader.into_decoder().map_err(damaged)?;
        let (width, height) = decoder.dimensions();
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 || pixels > limits.pixels {
            return refuse(format!(
                "the image has {width}x{height} pixels; 1 to {} million are taken",
                limits.pixels / 1_000_000
            ));
        }
        let (long, short) = (width.max(height), width.min(height));
        if long > short.saturating_mul(limits.aspect) {
            return refuse(format!(
                "the image is {width}x{height}; its longer side may be at most {} times the shorter one",
                limits.aspect
            ));
        }
        let orientation = decoder.orientation().map_err(damaged)?;
        let mut image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
        image.apply_orientation(orientation);
        let rgb = image.into_rgb8();
        Self::from_rgb(rgb.width(), rgb.height(), rgb.into_raw())
    }

    /// A picture of pixels.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless there are width times height times 3 values.
    pub fn from_rgb(width: u32, height: u32, rgb: Vec<u8>) -> Result<Self> {
        if rgb.is_empty() || rgb.len() as u64 != 3 * u64::from(width) * u64::from(height) {
            return Err(Error::Invalid(format!(
                "{} values are no image of {width}x{height} RGB pixels",
                rgb.len()
            )));
        }
        let mut hash = Sha256::new();
        hash.update(width.to_le_bytes());
        hash.update(height.to_le_bytes());
        hash.update(&rgb);
        Ok(Self {
            width,
            height,
            rgb,
            hash: hash.finalize().into(),
        })
    }

    /// Pixels in a row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The pixels.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// SHA-256 of size and pixels: equal images, however they came.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }
}

fn name_of(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        _ => "WebP",
    }
}
