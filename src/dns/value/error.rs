//! Why a value, or a part of it, gives no records.

use super::bounds::{
    MAX_BYTES, MAX_CERTIFICATES, MAX_IMPORT_DEPTH, MAX_IMPORTS, MAX_MAP_DEPTH, MAX_OBJECTS, MAX_RECORDS,
};

/// Why a value as a whole can't be read: it is no JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// The bytes are not UTF-8.
    #[error("the value is not UTF-8")]
    Encoding,
    /// The text is not JSON.
    #[error("the value is not JSON")]
    Syntax,
}

/// Why a part of a value is left out. The rest stays in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The JSON is of another kind than the item wants.
    #[error("expected {expected}")]
    Form {
        /// The forms that are read.
        expected: &'static str,
    },
    /// A number that the field of the record has no room for.
    #[error("number out of range: expected 0 to {max}")]
    Number {
        /// The greatest.
        max: u32,
    },
    /// A text that isn't base64 of the standard alphabet, padded.
    #[error("not standard base64")]
    Base64,
    /// A digest of another length than its type has (RFC 4034 section 5.1.3).
    #[error("digest of {got} bytes: expected {expected}")]
    DigestLength {
        /// What its type has.
        expected: usize,
        /// What is there.
        got: usize,
    },
    /// A text that isn't an IPv4 address.
    #[error("not an IPv4 address in dotted decimal without leading zeros")]
    Ip,
    /// A text that isn't an IPv6 address.
    #[error("not an IPv6 address, or one that stands for an IPv4 address or names an interface")]
    Ip6,
    /// A string of a list that doesn't fit in one string of a TXT record.
    #[error("string longer than {max} bytes")]
    LongString {
        /// The longest, in bytes.
        max: usize,
    },
    /// A text that isn't a location.
    #[error("not a location as in RFC 1876 section 3")]
    Location,
    /// A text that isn't an onion address.
    #[error("not an onion address ending in `.onion`")]
    Onion,
    /// A text that isn't a name, absolute or relative.
    #[error("not a lowercase name, nor one ending in `.` or `@`")]
    TargetSyntax,
    /// An IP address where a host's name belongs.
    #[error("an IP address, where the name of a host belongs")]
    HostAddress,
    /// A name of several labels that is relative, which owners seldom mean.
    #[error("without a final dot this is `{name}`")]
    WithoutDot {
        /// The absolute name.
        name: String,
    },
    /// A name that is no host name once it is absolute.
    #[error("not a host name (letters, digits, inner hyphens) or too long, in full `{name}`")]
    HostName {
        /// The absolute name, or what was to become it.
        name: String,
    },
    /// A key of a map that is no label.
    #[error("not a lowercase label, `*` or empty: no query reaches it")]
    Label,
    /// An object's name would be longer than a name may be.
    #[error("the name is longer than 255 bytes")]
    LongName,
    /// An object that lies too deep.
    #[error("more than {MAX_MAP_DEPTH} levels below the top")]
    MapDepth,
    /// A DS item where nothing is delegated.
    #[error("ds without ns")]
    DsWithoutNs,
    /// An item that says how to tell a key or a certificate, of which nothing can be served.
    #[error("nothing of it can be served: a record that nothing matches stands in for it, so that clients refuse")]
    FailsClosed,
    /// An item beside another that hides it.
    #[error("not served: hidden by `{by}`")]
    Hidden {
        /// The item that hides it.
        by: &'static str,
    },
    /// A map below an item that gives all names below to others.
    #[error("hides the map beside it: names below are not served from here, but for addresses as glue")]
    HidesMap,
    /// The value of the name itself is JSON, but no object.
    #[error("the value is not a JSON object")]
    NotAnObject,
    /// An import of a name that doesn't exist, or has expired.
    #[error("the imported name purportedly never existed, or has expired")]
    ImportAbsent,
    /// An import of a name whose value is no JSON object.
    #[error("the imported value is not a JSON object")]
    ImportUnreadable,
    /// The selector of an import leads nowhere.
    #[error("the imported value has no object at `{selector}`")]
    ImportSelector {
        /// The selector.
        selector: String,
    },
    /// A label of a selector that the imported value's map lacks.
    #[error("no `{label}` there: its `*` is imported")]
    SelectorWildcard {
        /// The label.
        label: String,
    },
    /// An item that an earlier import of the list gives as well.
    #[error("an earlier import has this item too, and counts")]
    EarlierImport,
    /// A chain of imports that is too long.
    #[error("more than {MAX_IMPORT_DEPTH} imports in a chain")]
    ImportDepth,
    /// An object that imports the same name again, or a name that imports itself.
    #[error("imported before into the same object")]
    ImportRepeated,
    /// More names than are looked up for one domain.
    #[error("more than {MAX_IMPORTS} names to import")]
    ImportCount,
    /// More objects than are read for one domain.
    #[error("imports would make more than {MAX_OBJECTS} objects")]
    ObjectCount,
    /// More records than one domain may have.
    #[error("the domain would have more than {MAX_RECORDS} records or {MAX_BYTES} bytes of them")]
    RecordCount,
    /// Bytes that are not the key of a known kind, or a dehydrated certificate of another version.
    #[error("not a dehydrated certificate of version 1 with an RSA, uncompressed ECDSA or Ed25519 key")]
    Certificate,
    /// A dehydrated certificate that isn't below a port and a protocol, as `_443._tcp`.
    #[error("no domain to certify: expected below port and protocol, such as `_443._tcp`")]
    CertifiedName,
    /// A certificate's time that no certificate can state.
    #[error("time after the year 9999")]
    CertificateTime,
    /// A signature of another kind than the key's, or that doesn't fit.
    #[error("the signature does not fit the certificate of `{domain}`")]
    CertificateSignature {
        /// The domain that the certificate would be of.
        domain: String,
    },
    /// More certificates and compressed keys than are computed for one domain.
    #[error("more than {MAX_CERTIFICATES} certificates and compressed keys")]
    CertificateCount,
}
