//! Looking at every byte of a spool that nobody has open.

use std::path::Path;
use std::sync::Arc;

use super::Spool;
use crate::files::Files;
use crate::store::StoreError;
use crate::store::check::{Check, Owner, Summary, Watch};
use crate::store::folder::SPOOL;

impl Spool {
    /// Looks at the spool in a folder as [`crate::store::check::check`] does at a store: changes
    /// nothing, says what is wrong as it is found, and in the end how much was looked at.
    ///
    /// # Errors
    /// [`StoreError::DataInUse`], [`StoreError::NewerFormat`], [`StoreError::WrongKind`],
    /// [`edgebus_core::Code::NotFound`], or what the operating system says. Damage is no error.
    pub fn check_folder(
        dir: &Path,
        files: &Arc<dyn Files>,
        watch: &mut dyn Watch,
    ) -> Result<Summary, StoreError> {
        let mut check = Check::new(dir, files, watch);
        let _lock = check.folder(&SPOOL)?;
        check.journal(Owner::Spool)?;
        if check.is_sound() {
            // What no single group shows: numbers without gaps, marks that fit, no segment missing.
            match Self::look_with(dir, files.clone()) {
                Err(StoreError::Corrupt { path, detail }) => check.refused("gap", &path, detail),
                other => drop(other?),
            }
        }
        Ok(check.finish())
    }
}
