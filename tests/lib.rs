//! Tests of the house itself; they stand beside this file. Sessions of real clients are in `wire/` and `nano/`, what diffusers
//! computed is in `goldens/`.
