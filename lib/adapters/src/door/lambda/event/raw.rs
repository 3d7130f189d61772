//! The texts of an event: as bytes, borrowed where they can be, in the order they are written.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A JSON string as bytes, borrowed where nothing in it is escaped. Bytes rather than text, so that neither broken
/// UTF-8 nor half a surrogate pair in what a client sent can cost the whole event.
pub(super) struct Raw<'a>(pub(super) Cow<'a, [u8]>);

impl Raw<'_> {
    /// As text, percent-encoding whatever is not UTF-8: in a path or a query that is the same thing written otherwise.
    pub(super) fn text(self) -> String {
        match String::from_utf8(self.0.into_owned()) {
            Ok(text) => text,
            Err(broken) => {
                let mut text = String::with_capacity(broken.as_bytes().len() + 16);
                for chunk in broken.as_bytes().utf8_chunks() {
                    text.push_str(chunk.valid());
                    for byte in chunk.invalid() {
                        text.push_str(&format!("%{byte:02X}"));
                    }
                }
                text
            }
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Raw(Cow::Borrowed(bytes)))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Raw(Cow::Owned(bytes.to_vec())))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        self.visit_borrowed_bytes(text.as_bytes())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        self.visit_bytes(text.as_bytes())
    }
}

/// A map as a list of its pairs; a value may be a list, which gives as many pairs, or null.
pub(super) struct Pairs<'a>(pub(super) Vec<(Raw<'a>, Option<Raw<'a>>)>);

/// A map whose values are texts.
pub(super) struct Single<'a>(pub(super) Pairs<'a>);

/// A map whose values are lists of texts.
pub(super) struct Listed<'a>(pub(super) Pairs<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Single<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor::<Option<Raw<'de>>>(PhantomData)).map(Self)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Listed<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor::<Option<Vec<Option<Raw<'de>>>>>(PhantomData)).map(Self)
    }
}

/// The value of one name, however many texts it is.
trait Texts<'a>: Sized {
    fn put(self, name: Raw<'a>, pairs: &mut Vec<(Raw<'a>, Option<Raw<'a>>)>);
}

impl<'a> Texts<'a> for Option<Raw<'a>> {
    fn put(self, name: Raw<'a>, pairs: &mut Vec<(Raw<'a>, Self)>) {
        pairs.push((name, self));
    }
}

impl<'a> Texts<'a> for Option<Vec<Option<Raw<'a>>>> {
    fn put(self, name: Raw<'a>, pairs: &mut Vec<(Raw<'a>, Option<Raw<'a>>)>) {
        pairs.extend(self.unwrap_or_default().into_iter().map(|value| (Raw(name.0.clone()), value)));
    }
}

struct PairsVisitor<V>(PhantomData<V>);

impl<'de, V: Texts<'de> + Deserialize<'de>> Visitor<'de> for PairsVisitor<V> {
    type Value = Pairs<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::with_capacity(24);
        while let Some((name, value)) = map.next_entry::<Raw<'de>, V>()? {
            value.put(name, &mut pairs);
        }
        Ok(Pairs(pairs))
    }
}

/// Reads a map.
pub(super) trait ReadsMap<'de>: Sized {
    type Value;

    fn read_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error>;
}

/// What a map is read as; anything else that stands in its place costs nothing but itself.
pub(super) struct Lenient<M>(pub(super) M);

impl<'de, M: ReadsMap<'de>> DeserializeSeed<'de> for Lenient<M> {
    type Value = Option<M::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, M: ReadsMap<'de>> Visitor<'de> for Lenient<M> {
    type Value = Option<M::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        self.0.read_map(map).map(Some)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}
