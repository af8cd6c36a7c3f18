//! How much of one domain is read: what hostile values and imports can cost.

/// Most names that are looked up to import them into one domain.
pub const MAX_IMPORTS: usize = 32;

/// Longest chain of imports: an import in an imported value is one longer, also in its maps.
pub const MAX_IMPORT_DEPTH: usize = 4;

/// Objects of one domain beyond which imports fail: with maps in imports in maps they would be millions.
pub const MAX_OBJECTS: usize = 1000;

/// Levels of maps that are read below the top.
pub const MAX_MAP_DEPTH: usize = 16;

/// Most records of one domain.
pub const MAX_RECORDS: usize = 4096;

/// Most bytes in memory that the records of one domain take.
pub const MAX_BYTES: usize = 1 << 20;

/// Most signatures and compressed keys that are computed for one domain: each takes up to a millisecond.
pub const MAX_CERTIFICATES: usize = 32;
