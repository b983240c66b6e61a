//! From paths to files: the calls of [`Files`](edgebus::files::Files) that look names up.
//!
//! Paths are taken from the root whether they begin with `/` or not; `..` and names that are not
//! UTF-8 are refused, as a store has no use for them.

use std::io;
use std::path::{Component, Path};

use edgebus::files::OpenMode;

use super::crash::Change;
use super::faults::Op;
use super::folder::{FolderId, InodeId, Node};
use super::inode::{HandleId, Inode};
use super::state::State;

impl State {
    /// Makes the folders of a path that are missing, as one call.
    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        let names = names(path)?;
        let mut parent = Self::ROOT;
        for (depth, name) in names.iter().enumerate() {
            match self.folder(parent).get(name) {
                Some(Node::Folder(id)) => parent = id,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {
                    let missing = &names[depth..];
                    return self.mutate(Op::Create, |state| {
                        state.create_dirs(parent, missing);
                        Ok(())
                    });
                }
            }
        }
        Ok(())
    }

    fn create_dirs(&mut self, mut parent: FolderId, names: &[&str]) {
        for name in names {
            let id = FolderId(self.new_id());
            self.folders.insert(id, Default::default());
            self.folder(parent).link(name, Node::Folder(id));
            parent = id;
        }
    }

    pub(super) fn list(&mut self, dir: &Path) -> io::Result<Vec<String>> {
        let id = self.folder_at(&names(dir)?)?;
        Ok(self.folder(id).names().cloned().collect())
    }

    /// Opens a file, and creates or empties it if so asked; only that counts as a change.
    pub(super) fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<(InodeId, HandleId)> {
        let (parent, name) = self.place_of(path)?;
        let id = match (self.folder(parent).get(name), mode) {
            (Some(Node::Folder(_)), _) => return Err(io::ErrorKind::IsADirectory.into()),
            (Some(Node::File(id)), OpenMode::Truncate) => self.mutate(Op::Create, |state| {
                if state.inode(id).len() > 0 {
                    state.inode(id).change(Change::SetLen(0));
                }
                Ok(id)
            })?,
            (Some(Node::File(id)), _) => id,
            (None, OpenMode::Truncate | OpenMode::Create) => self.mutate(Op::Create, |state| {
                let id = InodeId(state.new_id());
                state.inodes.insert(id, Inode::linked());
                state.folder(parent).link(name, Node::File(id));
                Ok(id)
            })?,
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        self.inode(id).handles += 1;
        Ok((id, HandleId(self.new_id())))
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (parent, from) = self.place_of(from)?;
        let (to_parent, to) = self.place_of(to)?;
        if parent != to_parent {
            return Err(io::Error::new(
                io::ErrorKind::CrossesDevices,
                "a store renames within one folder only",
            ));
        }
        let id = self.file_in(parent, from)?;
        let replaced = match self.folder(parent).get(to) {
            Some(Node::Folder(_)) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Node::File(other)) if other != id => Some(other),
            Some(Node::File(_)) | None => None,
        };
        self.mutate(Op::Rename, |state| {
            state.folder(parent).rename(from, to, Node::File(id));
            if let Some(replaced) = replaced {
                state.inode(replaced).linked = false;
            }
            Ok(())
        })
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.place_of(path)?;
        let id = self.file_in(parent, name)?;
        self.mutate(Op::Remove, |state| {
            state.folder(parent).unlink(name, Node::File(id));
            state.inode(id).linked = false;
            Ok(())
        })
    }

    /// The folder of a path.
    pub(super) fn folder_of(&mut self, path: &Path) -> io::Result<FolderId> {
        self.folder_at(&names(path)?)
    }

    /// The file of a path.
    pub(super) fn file_of(&mut self, path: &Path) -> io::Result<InodeId> {
        let (parent, name) = self.place_of(path)?;
        self.file_in(parent, name)
    }

    fn file_in(&mut self, parent: FolderId, name: &str) -> io::Result<InodeId> {
        match self.folder(parent).get(name) {
            Some(Node::File(id)) => Ok(id),
            Some(Node::Folder(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The folder a path's last name is in, and that name.
    fn place_of<'a>(&mut self, path: &'a Path) -> io::Result<(FolderId, &'a str)> {
        let names = names(path)?;
        match names.split_last() {
            Some((name, folders)) => Ok((self.folder_at(folders)?, name)),
            None => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn folder_at(&mut self, names: &[&str]) -> io::Result<FolderId> {
        let mut id = Self::ROOT;
        for name in names {
            id = match self.folder(id).get(name) {
                Some(Node::Folder(id)) => id,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            };
        }
        Ok(id)
    }
}

/// The names a path consists of.
fn names(path: &Path) -> io::Result<Vec<&str>> {
    path.components()
        .filter(|component| !matches!(component, Component::RootDir | Component::CurDir))
        .map(|component| match component {
            Component::Normal(name) => name.to_str().ok_or(io::ErrorKind::InvalidInput.into()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        })
        .collect()
}
