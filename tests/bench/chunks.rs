//! The receiving side of chunked coding (RFC 9112 section 7.1), for bodies that never end.

/// Where in the coding the next byte belongs.
enum Place {
    /// The body ends with the connection.
    Identity,
    /// In a chunk's size, of which this much is known.
    Size(usize),
    /// In a chunk extension of a chunk with this size.
    Extension(usize),
    /// In a chunk's data, with this much left.
    Data(usize),
    /// In the line end after a chunk's data.
    DataEnd,
}

/// Takes chunks apart, in whatever pieces they come.
pub struct ChunkDecoder(Place);

impl ChunkDecoder {
    /// A decoder, or something that hands all on as it is where the body is not chunked.
    pub fn new(chunked: bool) -> ChunkDecoder {
        ChunkDecoder(if chunked {
            Place::Size(0)
        } else {
            Place::Identity
        })
    }

    /// Takes the next bytes of the connection and calls `take` with what they hold of the body.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        while let Some((&first, rest)) = bytes.split_first() {
            match self.0 {
                Place::Identity => return take(bytes),
                Place::Data(left) => {
                    let (data, after) = bytes.split_at(left.min(bytes.len()));
                    take(data)?;
                    let left = left - data.len();
                    self.0 = if left == 0 {
                        Place::DataEnd
                    } else {
                        Place::Data(left)
                    };
                    bytes = after;
                    continue;
                }
                Place::Size(size) => self.0 = size_byte(size, first)?,
                Place::Extension(size) if first == b'\n' => self.0 = chunk_of(size)?,
                Place::DataEnd if first == b'\n' => self.0 = Place::Size(0),
                Place::DataEnd if first != b'\r' => return Err("no line end after a chunk"),
                Place::Extension(_) | Place::DataEnd => {}
            }
            bytes = rest;
        }
        Ok(())
    }
}

fn size_byte(size: usize, byte: u8) -> Result<Place, &'static str> {
    match byte {
        b'\r' => Ok(Place::Size(size)),
        b'\n' => chunk_of(size),
        b';' => Ok(Place::Extension(size)),
        _ => {
            let digit = char::from(byte)
                .to_digit(16)
                .ok_or("a chunk size is not a number")?;
            size.checked_mul(16)
                .map(|size| Place::Size(size + digit as usize))
                .ok_or("a chunk size is too large")
        }
    }
}

fn chunk_of(size: usize) -> Result<Place, &'static str> {
    if size == 0 {
        Err("the live stream ended")
    } else {
        Ok(Place::Data(size))
    }
}
