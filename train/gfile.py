"""`wf.gfile`: files, under TensorFlow's names."""

from .file_functions import (
    Copy as Copy,
    DeleteRecursively as DeleteRecursively,
    Exists as Exists,
    FastGFile as FastGFile,
    FileStatistics as FileStatistics,
    GFile as GFile,
    Glob as Glob,
    IsDirectory as IsDirectory,
    ListDirectory as ListDirectory,
    MakeDirs as MakeDirs,
    MkDir as MkDir,
    Open as Open,
    Remove as Remove,
    Rename as Rename,
    Stat as Stat,
    Walk as Walk,
)
