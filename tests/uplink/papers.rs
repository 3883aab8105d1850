//! Certificates of the test's own authority, as files a broker and a gateway read.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

/// An authority and a folder: `ca.pem`, `broker.pem`, `broker.key`, `client.pem`, `client.key`.
pub(crate) struct Papers {
    folder: PathBuf,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Papers {
    pub(crate) fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "House");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let authority = CertifiedIssuer::self_signed(params, key).unwrap();
        fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
        let papers = Self { folder: folder.to_owned(), authority };
        papers.issue("broker", named("localhost"));
        papers.issue("client", named("gateway"));
        papers
    }

    /// The broker's certificate ran out long ago.
    pub(crate) fn expire(&self) {
        let mut params = named("localhost");
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 2, 1));
        self.issue("broker", params);
    }

    pub(crate) fn renew(&self) {
        self.issue("broker", named("localhost"));
    }

    /// What a listener of Mosquitto needs for TLS.
    pub(crate) fn listener(&self) -> String {
        format!("certfile {}\nkeyfile {}\n", self.path("broker.pem"), self.path("broker.key"))
    }

    /// As [`Self::listener`], where clients must have a certificate of the authority.
    pub(crate) fn strict_listener(&self) -> String {
        format!("{}cafile {}\nrequire_certificate true\n", self.listener(), self.path("ca.pem"))
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn issue(&self, name: &str, params: CertificateParams) {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        fs::write(self.folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

fn named(name: &str) -> CertificateParams {
    CertificateParams::new([name.to_owned()]).unwrap()
}
