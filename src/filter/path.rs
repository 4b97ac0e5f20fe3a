//! What a dotted path leads to in a document.
//!
//! A path goes through embedded documents by name. At an array it goes on in every element that
//! is a document, and, where the next component is a number, in the element at that place too. An
//! array at the end of the path gives its elements and then itself. A path that leads nowhere gives
//! the absent value (`None`) once, except below arrays, where only documents can lack a field.
//!
//! A number is a place and a name, so a path may reach one element in two ways, with more or less of
//! it left. What is left is therefore carried on as a set: each element is entered once for every array
//! around it, and each of its pairs with a rest of the path is looked at once.

use bson::spec::ElementType;
use smallvec::{SmallVec, smallvec};

use super::cost::Meter;
use super::value::{Elements, Value};

/// How many arrays within arrays a walk enters. A server stores no document that deep.
const MAX_ARRAYS: usize = 200;

/// What an array at the end of a path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// Its elements, then itself.
    Elements,
    /// Itself alone.
    Whole,
}

/// What is shown the values at a path.
type Visit<'v, 'd, M> =
    &'v mut dyn FnMut(Option<Value<'d>>, &mut M) -> Result<bool, <M as Meter>::Over>;

/// Shows every value at `path` to `visit` until that returns true; whether it did.
pub(crate) fn any<'d, M: Meter>(
    document: &'d [u8],
    path: &[u8],
    leaf: Leaf,
    meter: &mut M,
    visit: Visit<'_, 'd, M>,
) -> Result<bool, M::Over> {
    let mut walk = Walk { leaf, meter, visit };
    walk.document(document, path, 0)
}

/// Rests of one path, no two of the same length.
type Rests<'p> = SmallVec<[&'p [u8]; 4]>;

struct Walk<'v, 'd, M: Meter> {
    leaf: Leaf,
    meter: &'v mut M,
    visit: Visit<'v, 'd, M>,
}

impl<'d, M: Meter> Walk<'_, 'd, M> {
    fn visit(&mut self, value: Option<Value<'d>>) -> Result<bool, M::Over> {
        (self.visit)(value, self.meter)
    }

    fn document(
        &mut self,
        document: &'d [u8],
        path: &[u8],
        arrays: usize,
    ) -> Result<bool, M::Over> {
        match self.descend(document, path)? {
            (Some(array), rest) if array.is_array() => match self.leaf {
                Leaf::Whole if rest.is_empty() => self.visit(Some(array)),
                _ => self.array(array, &[rest], arrays),
            },
            (end, _) => self.visit(end),
        }
    }

    /// Follows `path` through embedded documents up to its end or the first array. Gives what is
    /// there and the part of the path that is left; an empty last component counts as nothing left.
    fn descend<'p>(
        &mut self,
        mut document: &'d [u8],
        mut path: &'p [u8],
    ) -> Result<(Option<Value<'d>>, &'p [u8]), M::Over> {
        loop {
            let (name, rest) = split(path);
            self.meter.charge(STEP + name.len())?;
            match (self.field(document, name)?, rest) {
                (Some(value), rest) if value.is_array() => {
                    return Ok((Some(value), rest.unwrap_or_default()));
                }
                (Some(value), Some(rest)) if value.is_document() => {
                    document = value.bytes();
                    path = rest;
                }
                (Some(value), None) => return Ok((Some(value), &[])),
                _ => return Ok((None, &[])),
            }
        }
    }

    /// The first element called `name`.
    fn field(&mut self, document: &'d [u8], name: &[u8]) -> Result<Option<Value<'d>>, M::Over> {
        for (found, value) in Elements::new(document) {
            self.meter.charge(STEP + found.len())?;
            if found == name {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Goes on in an array with each of `rests`, of which an empty one ends here.
    fn array(&mut self, array: Value<'d>, rests: &[&[u8]], arrays: usize) -> Result<bool, M::Over> {
        if arrays == MAX_ARRAYS {
            return Ok(false);
        }
        let on = rests.iter().filter(|rest| !rest.is_empty());
        let on: Rests<'_> = on.copied().collect();
        if on.len() < rests.len() && self.members(array)? {
            return Ok(true);
        }
        if on.is_empty() {
            return Ok(false);
        }
        let first_names = on.iter().map(|rest| split(rest).0);
        let numbers: SmallVec<[&[u8]; 4]> = first_names.filter(|name| is_number(name)).collect();
        self.meter
            .charge(on.iter().map(|rest| STEP + split(rest).0.len()).sum())?;
        for (name, element) in array.elements() {
            self.meter.charge(STEP + name.len() + numbers.len())?;
            let found = if numbers.contains(&name) {
                self.place(name, element, &on, arrays + 1)?
            } else if element.is_document() {
                self.documents(element.bytes(), &on, arrays + 1)?
            } else {
                false
            };
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The elements of an array, then itself.
    fn members(&mut self, array: Value<'d>) -> Result<bool, M::Over> {
        for (name, element) in array.elements() {
            self.meter.charge(STEP + name.len())?;
            if self.visit(Some(element))? {
                return Ok(true);
            }
        }
        self.visit(Some(array))
    }

    /// An element that some of `rests` name by its place: it is entered with what follows there,
    /// and, if it is a document, with all of them as they are.
    fn place(
        &mut self,
        name: &[u8],
        element: Value<'d>,
        rests: &Rests<'_>,
        arrays: usize,
    ) -> Result<bool, M::Over> {
        let mut inside = Rests::new();
        if element.is_document() {
            inside.extend_from_slice(rests);
        }
        let mut ends = false;
        for rest in rests {
            self.meter.charge(STEP + rests.len())?;
            let is_new = |below: &[u8]| inside.iter().all(|other| other.len() != below.len());
            match split(rest) {
                (place, None) if place == name => ends = true,
                (place, Some(below)) if place == name && is_new(below) => inside.push(below),
                _ => {}
            }
        }
        if ends && self.visit(Some(element))? {
            return Ok(true);
        }
        match element.kind() {
            ElementType::EmbeddedDocument => self.documents(element.bytes(), &inside, arrays),
            ElementType::Array if !inside.is_empty() => self.array(element, &inside, arrays),
            _ => Ok(false),
        }
    }

    /// Follows several rests in one document, as [`document`](Self::document) does one.
    fn documents(
        &mut self,
        document: &'d [u8],
        rests: &[&[u8]],
        arrays: usize,
    ) -> Result<bool, M::Over> {
        if let [only] = rests {
            return self.document(document, only, arrays);
        }
        let mut sought: SmallVec<[_; 4]> = rests.iter().map(|rest| split(rest)).collect();
        self.meter
            .charge(sought.iter().map(|(name, _)| STEP + name.len()).sum())?;
        for (name, value) in Elements::new(document) {
            if sought.is_empty() {
                return Ok(false);
            }
            self.meter.charge(STEP + name.len() + sought.len())?;
            let mut here: SmallVec<[_; 4]> = smallvec![];
            sought.retain(|(first, below)| {
                let found = *first == name;
                if found {
                    here.push(*below);
                }
                !found
            });
            if !here.is_empty() && self.value(value, &here, arrays)? {
                return Ok(true);
            }
        }
        Ok(!sought.is_empty() && self.visit(None)?)
    }

    /// A field at which what is left of the path is each of `rests`.
    fn value(
        &mut self,
        value: Value<'d>,
        rests: &[Option<&[u8]>],
        arrays: usize,
    ) -> Result<bool, M::Over> {
        if value.is_array() {
            let on: Rests<'_> = rests.iter().map(|rest| rest.unwrap_or_default()).collect();
            return match self.leaf {
                Leaf::Whole if on.iter().any(|rest| rest.is_empty()) => {
                    let on: Rests<'_> = on.into_iter().filter(|rest| !rest.is_empty()).collect();
                    Ok(self.visit(Some(value))? || self.array(value, &on, arrays)?)
                }
                _ => self.array(value, &on, arrays),
            };
        }
        if rests.contains(&None) && self.visit(Some(value))? {
            return Ok(true);
        }
        let on: Rests<'_> = rests.iter().copied().flatten().collect();
        match value.kind() {
            _ if on.is_empty() => Ok(false),
            ElementType::EmbeddedDocument => self.documents(value.bytes(), &on, arrays),
            _ => self.visit(None),
        }
    }
}

/// What it takes to look at one element, or to take one component from a path.
pub(super) const STEP: usize = 4;

/// What it takes to put a path together from its components, however short it is.
pub(super) const WRITTEN: usize = 100;

fn split(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match path.iter().position(|&byte| byte == b'.') {
        Some(dot) => (&path[..dot], Some(&path[dot + 1..])),
        None => (path, None),
    }
}

fn is_number(component: &[u8]) -> bool {
    !component.is_empty() && component.iter().all(u8::is_ascii_digit)
}
