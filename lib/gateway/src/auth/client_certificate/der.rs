//! DER (X.690 §8 and §10), as much of it as certificates are made of: elements of up to 64 KiB with one-byte tags.

/// Reads elements one after the other. What is not as DER has it, or is not there, is `None`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const PRINTABLE_STRING: u8 = 0x13;
pub(super) const IA5_STRING: u8 = 0x16;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// The tag `[number]` of an element that holds others.
pub(super) const fn context(number: u8) -> u8 {
    0xa0 | number
}

impl<'a> Reader<'a> {
    pub(super) const fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    pub(super) const fn at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element, whatever it is: its tag and what it holds.
    pub(super) fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, length], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match length {
            0..=0x7f => (usize::from(length), rest),
            0x81 => {
                let (&length, rest) = rest.split_first().filter(|(length, _)| **length > 0x7f)?;
                (usize::from(length), rest)
            }
            0x82 => {
                let (&length, rest) = rest.split_first_chunk().filter(|(length, _)| **length > [0, 0xff])?;
                (usize::from(u16::from_be_bytes(length)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        (tag & 0x1f != 0x1f).then_some((tag, content))
    }

    /// What the next element holds, which must have this tag.
    pub(super) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.any().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    /// As [`Self::take`], where the next element may also be another one.
    pub(super) fn optional(&mut self, tag: u8) -> Option<Option<&'a [u8]>> {
        if self.0.first() == Some(&tag) { self.take(tag).map(Some) } else { Some(None) }
    }

    /// What the only element of `input` holds.
    pub(super) fn only(input: &'a [u8], tag: u8) -> Option<&'a [u8]> {
        let mut reader = Self::new(input);
        reader.take(tag).filter(|_| reader.at_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_every_length_are_read_and_nothing_beyond_them() {
        for (length, head) in [
            (0_usize, &[0x04, 0x00][..]),
            (127, &[0x04, 0x7f]),
            (128, &[0x04, 0x81, 0x80]),
            (255, &[0x04, 0x81, 0xff]),
            (256, &[0x04, 0x82, 0x01, 0x00]),
            (65_535, &[0x04, 0x82, 0xff, 0xff]),
        ] {
            let mut text = [head, &vec![7; length]].concat();
            assert_eq!(Reader::only(&text, OCTET_STRING).map(<[u8]>::len), Some(length));
            for cut in 0..text.len().min(300) {
                assert_eq!(Reader::new(&text[..cut]).any(), None, "{length} bytes cut at {cut}");
            }
            text.push(0);
            assert_eq!(Reader::only(&text, OCTET_STRING), None, "something follows");
            assert_eq!(Reader::new(&text).take(OCTET_STRING).map(<[u8]>::len), Some(length));
        }
    }

    #[test]
    fn what_der_does_not_have_is_refused() {
        for wrong in [
            &[0x04, 0x80, 0x00, 0x00][..],                        // an indefinite length
            &[0x04, 0x83, 0x00, 0x00, 0x01, 0x00],                // a length of three bytes
            &[&[0x04, 0x81, 0x7f][..], &[0; 127]].concat(),       // longer than it need be
            &[&[0x04, 0x82, 0x00, 0xff][..], &[0; 255]].concat(), // likewise
            &[0x1f, 0x01, 0x00],                                  // a tag of more bytes
            &[0x04],
            &[],
        ] {
            assert_eq!(Reader::new(wrong).any(), None, "{wrong:02x?}");
        }
    }
}
