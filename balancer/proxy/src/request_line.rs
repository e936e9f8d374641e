//! Method and path of a request, for the log lines that it may cause.

/// Most bytes that are kept of a path.
const MAX_PATH: usize = 96;
/// Most bytes that are kept of a method: longer ones are refused.
const MAX_METHOD: usize = 32;

/// The method and the beginning of the path, without the query, which may have secrets.
/// It has a fixed size, as every request has one and hardly any needs it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestLine {
    bytes: [u8; MAX_METHOD + MAX_PATH],
    method: u8,
    length: u8,
}

impl RequestLine {
    pub(crate) fn new(method: &[u8], path: &[u8]) -> Self {
        let method = &method[..method.len().min(MAX_METHOD)];
        let path = &path[..path.len().min(MAX_PATH)];
        let path = path.split(|&byte| byte == b'?').next().unwrap_or_default();
        let mut bytes = [0; MAX_METHOD + MAX_PATH];
        bytes[..method.len()].copy_from_slice(method);
        bytes[method.len()..method.len() + path.len()].copy_from_slice(path);
        Self { bytes, method: method.len() as u8, length: (method.len() + path.len()) as u8 }
    }

    /// Method and path.
    pub(crate) fn parts(&self) -> (&[u8], &[u8]) {
        self.bytes[..usize::from(self.length)].split_at(usize::from(self.method))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_left_out_and_the_rest_is_bounded() {
        assert_eq!(RequestLine::new(b"GET", b"/a?b=c").parts(), (&b"GET"[..], &b"/a"[..]));
        assert_eq!(RequestLine::new(b"", b"").parts(), (&b""[..], &b""[..]));
        let line = RequestLine::new(&[b'M'; 50], &[b'/'; 500]);
        assert_eq!((line.parts().0.len(), line.parts().1.len()), (MAX_METHOD, MAX_PATH));
    }
}
