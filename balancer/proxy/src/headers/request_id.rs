//! The id of a request.

use shared_protocol::{is_well_formed_request_id, new_request_id};

/// Longest id in bytes, as [`is_well_formed_request_id`] has it.
const MAX_LENGTH: usize = 128;

/// A request's id: the one that its client gives when it is well formed, else a new one.
#[derive(Debug, Clone, Copy)]
pub struct RequestId {
    bytes: [u8; MAX_LENGTH],
    length: u8,
}

impl RequestId {
    pub fn choose(given: Option<&[u8]>) -> Self {
        match given {
            Some(id) if is_well_formed_request_id(id) => Self::new(id),
            _ => Self::new(&new_request_id()),
        }
    }

    /// `id` has [`MAX_LENGTH`] bytes at most.
    fn new(id: &[u8]) -> Self {
        let mut bytes = [0; MAX_LENGTH];
        bytes[..id.len()].copy_from_slice(id);
        Self { bytes, length: id.len() as u8 }
    }

    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_kept_when_well_formed() {
        assert_eq!(RequestId::choose(Some(b"abc-1")).as_bytes(), b"abc-1");
        assert_ne!(RequestId::choose(Some(b"a b")).as_bytes(), b"a b");
        assert_eq!(RequestId::choose(None).as_bytes().len(), 32);
    }
}
