//! Ignoring case by Unicode 7, as the server's PCRE does.

use std::sync::LazyLock;

use regex_syntax::hir::ClassUnicode;

use super::set;

/// The characters whose other cases came after Unicode 7, found by asking a server about every character that has one.
/// On the server each of them matches only itself.
const NEWER: &[(char, char)] = &[
    ('\u{19b}', '\u{19b}'),
    ('\u{264}', '\u{264}'),
    ('\u{26a}', '\u{26a}'),
    ('\u{282}', '\u{282}'),
    ('\u{29d}', '\u{29d}'),
    ('\u{390}', '\u{390}'),
    ('\u{3b0}', '\u{3b0}'),
    ('\u{10d0}', '\u{10fa}'),
    ('\u{10fd}', '\u{10ff}'),
    ('\u{13a0}', '\u{13f5}'),
    ('\u{13f8}', '\u{13fd}'),
    ('\u{1c80}', '\u{1c8a}'),
    ('\u{1c90}', '\u{1cba}'),
    ('\u{1cbd}', '\u{1cbf}'),
    ('\u{1d8e}', '\u{1d8e}'),
    ('\u{1fd3}', '\u{1fd3}'),
    ('\u{1fe3}', '\u{1fe3}'),
    ('\u{2c2f}', '\u{2c2f}'),
    ('\u{2c5f}', '\u{2c5f}'),
    ('\u{a794}', '\u{a794}'),
    ('\u{a7ae}', '\u{a7ae}'),
    ('\u{a7b2}', '\u{a7cd}'),
    ('\u{a7d0}', '\u{a7d1}'),
    ('\u{a7d6}', '\u{a7dc}'),
    ('\u{a7f5}', '\u{a7f6}'),
    ('\u{ab53}', '\u{ab53}'),
    ('\u{ab70}', '\u{abbf}'),
    ('\u{fb05}', '\u{fb06}'),
    ('\u{104b0}', '\u{104d3}'),
    ('\u{104d8}', '\u{104fb}'),
    ('\u{10570}', '\u{1057a}'),
    ('\u{1057c}', '\u{1058a}'),
    ('\u{1058c}', '\u{10592}'),
    ('\u{10594}', '\u{10595}'),
    ('\u{10597}', '\u{105a1}'),
    ('\u{105a3}', '\u{105b1}'),
    ('\u{105b3}', '\u{105b9}'),
    ('\u{105bb}', '\u{105bc}'),
    ('\u{10c80}', '\u{10cb2}'),
    ('\u{10cc0}', '\u{10cf2}'),
    ('\u{10d50}', '\u{10d65}'),
    ('\u{10d70}', '\u{10d85}'),
    ('\u{16e40}', '\u{16e7f}'),
    ('\u{1e900}', '\u{1e943}'),
];

/// Adds the other cases of every character.
pub(super) fn fold(class: &mut ClassUnicode) {
    static NEWER_CLASS: LazyLock<ClassUnicode> = LazyLock::new(|| set::ranges(NEWER));
    let mut folded = class.clone();
    folded.difference(&NEWER_CLASS);
    folded.case_fold_simple();
    folded.difference(&NEWER_CLASS);
    class.union(&folded);
}
