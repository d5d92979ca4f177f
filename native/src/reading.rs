//! Reading the JSON of a line.
//!
//! Every function returns `None` for what is not ordinary, such as malformed JSON.

use jiter::{Jiter, Peek};
use memchr::memmem::Finder;
use std::sync::LazyLock;

/// The key of a value in one of Wakelog's own forms, as on a line.
static TAGGED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"$wakelog\""));

/// Return whether a line may have a value in one of Wakelog's own forms.
pub fn is_tagged(line: &[u8]) -> bool {
    TAGGED.find(line).is_some()
}

/// Call `field` for each field of an object, with its name and the kind of its value.
///
/// `field` has to read the value.
pub fn read_object<'j>(
    json: &mut Jiter<'j>,
    mut field: impl FnMut(&mut Jiter<'j>, &str, Peek) -> Option<()>,
) -> Option<()> {
    let mut name = String::with_capacity(64);
    let mut next = json.next_object().ok()?.map(|text| name.push_str(text));
    while next.is_some() {
        let peek = json.peek().ok()?;
        field(json, &name, peek)?;
        name.clear();
        next = json.next_key().ok()?.map(|text| name.push_str(text));
    }
    Some(())
}

/// Read an integer that fits into 64 bits.
pub fn read_integer(json: &mut Jiter<'_>, peek: Peek) -> Option<i64> {
    match read_number(json, peek)? {
        Number::Integer(number) => Some(number),
        Number::Float(_) => None,
    }
}

/// A number as the codec in Python reads it.
pub enum Number {
    Integer(i64),
    Float(f64),
}

/// Read a number: an integer that fits into 64 bits, or a finite one with a fraction or an exponent.
///
/// The functions of `jiter` for this refuse integers of more than 18 digits, such as times.
pub fn read_number(json: &mut Jiter<'_>, peek: Peek) -> Option<Number> {
    let digits = std::str::from_utf8(json.known_number_bytes(peek).ok()?).ok()?;
    if let Ok(number) = digits.parse() {
        return Some(Number::Integer(number));
    }
    let is_float = digits.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
    let number: f64 = digits.parse().ok()?;
    (is_float && number.is_finite()).then_some(Number::Float(number))
}

/// Read a text that is an id in hexadecimal.
pub fn read_id(json: &mut Jiter<'_>, id: &mut [u8]) -> Option<()> {
    parse_id(json.known_bytes().ok()?, id)
}

/// Parse the digits of an id in hexadecimal.
pub fn parse_id(digits: &[u8], id: &mut [u8]) -> Option<()> {
    if digits.len() != 2 * id.len() {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// Fields that were read, by their bits; a field that is there twice is not ordinary.
#[derive(Default)]
pub struct Seen(u32);

impl Seen {
    /// Note a field of `names`; false if it is none of them, `None` if it is there again.
    pub fn note(&mut self, names: &[&str], name: &str) -> Option<bool> {
        let Some(number) = names.iter().position(|known| *known == name) else {
            return Some(false);
        };
        if self.0 & (1 << number) != 0 {
            return None;
        }
        self.0 |= 1 << number;
        Some(true)
    }
}
