//! Certificate authorities that a user names for servers of their own.

use std::path::Path;

/// What a certificate in a PEM file begins with.
const FRAME: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The content of a PEM file that holds at least one certificate.
///
/// # Errors
/// Says what is wrong with the file, with its path.
pub fn read_ca(path: &Path) -> Result<Vec<u8>, String> {
    let pem = std::fs::read(path).map_err(|error| format!("{} can't be read: {error}", path.display()))?;
    match pem.windows(FRAME.len()).any(|part| part == FRAME) {
        true => Ok(pem),
        false => {
            let frame = String::from_utf8_lossy(FRAME);
            Err(format!("{} holds no certificate; name a PEM file, in which {frame} stands", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_refused_by_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        let refused = || read_ca(&path).expect_err("refused");
        assert!(refused().contains("ca.pem can't be read: "), "{}", refused());
        std::fs::write(&path, [0x30, 0x82, 0xff]).expect("a file");
        assert!(refused().ends_with("in which -----BEGIN CERTIFICATE----- stands"), "{}", refused());
        std::fs::write(&path, "# ours\n-----BEGIN CERTIFICATE-----\nAA==\n").expect("a file");
        assert!(read_ca(&path).is_ok());
    }
}
