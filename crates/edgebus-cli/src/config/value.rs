//! Values of keys, whatever they were written in, and the fields they go to.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edgebus::{ClientAuth, ServerUrl, TlsVersion};

/// The value of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Value {
    Flag(bool),
    /// A count, a number of bytes, or a file mode.
    Number(u64),
    Duration(Duration),
    Text(String),
    Texts(Vec<String>),
    Path(PathBuf),
    Paths(Vec<PathBuf>),
}

impl Value {
    /// With its relative paths taken to be in a folder.
    pub(super) fn below(self, folder: &Path) -> Self {
        match self {
            Self::Path(path) => Self::Path(folder.join(path)),
            Self::Paths(paths) => {
                Self::Paths(paths.into_iter().map(|path| folder.join(path)).collect())
            }
            other => other,
        }
    }
}

/// Something that a key sets.
pub(super) trait Field {
    /// Sets it.
    ///
    /// # Errors
    /// What is wrong with the value.
    fn take(&mut self, value: &Value) -> Result<(), String>;

    /// What it is; `None` if it is nothing.
    fn give(&self) -> Option<Value>;
}

/// Only a mistake in the table of keys leads here, which a test finds.
fn mismatch() -> String {
    "this kind of value does not fit here".to_owned()
}

impl Field for bool {
    fn take(&mut self, value: &Value) -> Result<(), String> {
        let Value::Flag(flag) = value else {
            return Err(mismatch());
        };
        *self = *flag;
        Ok(())
    }

    fn give(&self) -> Option<Value> {
        Some(Value::Flag(*self))
    }
}

/// Numbers; the largest one stands for no limit, and cannot be written.
macro_rules! number_field {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn take(&mut self, value: &Value) -> Result<(), String> {
                let Value::Number(number) = value else {
                    return Err(mismatch());
                };
                *self = <$type>::try_from(*number)
                    .map_err(|_| format!("{} is the most on this machine", <$type>::MAX))?;
                Ok(())
            }

            fn give(&self) -> Option<Value> {
                (*self != <$type>::MAX).then_some(Value::Number(*self as u64))
            }
        }
    )*};
}
number_field!(u32, u64, usize);

impl Field for Duration {
    fn take(&mut self, value: &Value) -> Result<(), String> {
        let Value::Duration(duration) = value else {
            return Err(mismatch());
        };
        *self = *duration;
        Ok(())
    }

    fn give(&self) -> Option<Value> {
        Some(Value::Duration(*self))
    }
}

impl Field for String {
    fn take(&mut self, value: &Value) -> Result<(), String> {
        let Value::Text(text) = value else {
            return Err(mismatch());
        };
        self.clone_from(text);
        Ok(())
    }

    fn give(&self) -> Option<Value> {
        Some(Value::Text(self.clone()))
    }
}

impl Field for PathBuf {
    fn take(&mut self, value: &Value) -> Result<(), String> {
        let Value::Path(path) = value else {
            return Err(mismatch());
        };
        self.clone_from(path);
        Ok(())
    }

    fn give(&self) -> Option<Value> {
        Some(Value::Path(self.clone()))
    }
}

/// What may be nothing.
macro_rules! optional_field {
    ($($type:ty),*) => {$(
        impl Field for Option<$type> {
            fn take(&mut self, value: &Value) -> Result<(), String> {
                self.get_or_insert_default().take(value)
            }

            fn give(&self) -> Option<Value> {
                self.as_ref().and_then(Field::give)
            }
        }
    )*};
}
optional_field!(PathBuf, ClientAuth);

impl Field for Vec<PathBuf> {
    fn take(&mut self, value: &Value) -> Result<(), String> {
        let Value::Paths(paths) = value else {
            return Err(mismatch());
        };
        self.clone_from(paths);
        Ok(())
    }

    fn give(&self) -> Option<Value> {
        (!self.is_empty()).then(|| Value::Paths(self.clone()))
    }
}

impl Field for Vec<ServerUrl> {
    fn take(&mut self, value: &Value) -> Result<(), String> {
        let Value::Texts(texts) = value else {
            return Err(mismatch());
        };
        let urls = texts.iter().map(|text| text.parse::<ServerUrl>());
        *self = urls
            .collect::<Result<_, _>>()
            .map_err(|refusal| refusal.message)?;
        Ok(())
    }

    fn give(&self) -> Option<Value> {
        Some(Value::Texts(self.iter().map(ToString::to_string).collect()))
    }
}

impl Field for Option<SocketAddr> {
    fn take(&mut self, value: &Value) -> Result<(), String> {
        let Value::Text(text) = value else {
            return Err(mismatch());
        };
        let wrong = |_| format!("{text:?} is no address: write 127.0.0.1:7480, or [::1]:7480");
        *self = Some(text.parse().map_err(wrong)?);
        Ok(())
    }

    fn give(&self) -> Option<Value> {
        self.map(|address| Value::Text(address.to_string()))
    }
}

/// Words for what the library has names for.
macro_rules! choice_field {
    ($type:ty, $($word:literal => $variant:path),*) => {
        impl Field for $type {
            fn take(&mut self, value: &Value) -> Result<(), String> {
                *self = match value {
                    $(Value::Text(word) if word == $word => $variant,)*
                    _ => return Err(mismatch()),
                };
                Ok(())
            }

            fn give(&self) -> Option<Value> {
                match self {
                    $($variant => Some(Value::Text($word.to_owned())),)*
                    _ => None,
                }
            }
        }
    };
}
choice_field!(ClientAuth, "required" => ClientAuth::Required, "optional" => ClientAuth::Optional);
choice_field!(TlsVersion, "1.3" => TlsVersion::V1_3, "1.2" => TlsVersion::V1_2);

/// A path as somebody wrote it. What is plainly the content of a file is not repeated.
pub(super) fn path(text: &OsStr) -> Result<PathBuf, String> {
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        return Err("the path is empty".to_owned());
    }
    let is_content = bytes.starts_with(b"-----") || bytes.iter().any(|b| matches!(b, b'\n' | 0));
    if is_content {
        let what = "it looks like the content of a file: put that into a file of its own, and its \
                    path here";
        return Err(what.to_owned());
    }
    Ok(PathBuf::from(text))
}
