//! The values that a dotted path leads to in a document.
//!
//! A path goes through embedded documents by name. At an array it goes on in every element that is a document and,
//! if the next component is a number, in the element at that index too. An array at the end of the path yields its
//! elements and then itself. A path that leads nowhere yields the absent value (`None`) once, except below arrays,
//! where only documents can lack a field.
//!
//! A number is an index and a name, so a path may reach one element in two ways, with different rests of it left. The
//! rests are therefore carried on as a set. Each element is entered once for every array around it, and each pair of an
//! element and a rest is visited once.

use bson::spec::ElementType;
use smallvec::{SmallVec, smallvec};

use super::cost::Meter;
use super::value::{Elements, Value};

/// Most arrays within arrays that a walk enters. A server stores no document that deep.
const MAX_ARRAYS: usize = 200;

/// The meaning of an array at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// Its elements, then itself.
    Elements,
    /// Itself alone.
    Whole,
}

/// A visitor of the values at a path. It returns true to end the walk.
type ValueVisitor<'v, 'd, M> =
    &'v mut dyn FnMut(Option<Value<'d>>, &mut M) -> Result<bool, <M as Meter>::Over>;

/// Hands the values at `path` to `visit` until that returns true. Returns whether it did.
pub(crate) fn any<'d, M: Meter>(
    document: &'d [u8],
    path: &[u8],
    leaf: Leaf,
    meter: &mut M,
    visit: ValueVisitor<'_, 'd, M>,
) -> Result<bool, M::Over> {
    let mut walk = Walk { leaf, meter, visit };
    walk.document(document, path, 0)
}

/// Rests of one path, each of another length.
type Rests<'p> = SmallVec<[&'p [u8]; 4]>;

struct Walk<'v, 'd, M: Meter> {
    leaf: Leaf,
    meter: &'v mut M,
    visit: ValueVisitor<'v, 'd, M>,
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

    /// Follows `path` through embedded documents up to its end or the first array. Returns the value there and the rest
    /// of the path. An empty last component counts as no rest.
    fn descend<'p>(
        &mut self,
        mut document: &'d [u8],
        mut path: &'p [u8],
    ) -> Result<(Option<Value<'d>>, &'p [u8]), M::Over> {
        loop {
            let (name, rest) = split(path);
            self.meter.charge(ELEMENT_STEPS + name.len())?;
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

    /// Returns the first element called `name`.
    fn field(&mut self, document: &'d [u8], name: &[u8]) -> Result<Option<Value<'d>>, M::Over> {
        for (found, value) in Elements::new(document) {
            self.meter.charge(ELEMENT_STEPS + found.len())?;
            if found == name {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Goes on in an array with each of `rests`. An empty one ends here.
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
        self.meter.charge(
            on.iter()
                .map(|rest| ELEMENT_STEPS + split(rest).0.len())
                .sum(),
        )?;
        for (name, element) in array.elements() {
            self.meter
                .charge(ELEMENT_STEPS + name.len() + numbers.len())?;
            let found = if numbers.contains(&name) {
                self.indexed(name, element, &on, arrays + 1)?
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

    /// Visits the elements of an array, then the array.
    fn members(&mut self, array: Value<'d>) -> Result<bool, M::Over> {
        for (name, element) in array.elements() {
            self.meter.charge(ELEMENT_STEPS + name.len())?;
            if self.visit(Some(element))? {
                return Ok(true);
            }
        }
        self.visit(Some(array))
    }

    /// Enters an element whose index some of `rests` begin with: with what follows in those and, if it is a document,
    /// with all rests as they are.
    fn indexed(
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
            self.meter.charge(ELEMENT_STEPS + rests.len())?;
            let is_new = |below: &[u8]| inside.iter().all(|other| other.len() != below.len());
            match split(rest) {
                (index, None) if index == name => ends = true,
                (index, Some(below)) if index == name && is_new(below) => inside.push(below),
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

    /// Follows several rests in one document, as [`document`](Self::document) follows one.
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
        self.meter.charge(
            sought
                .iter()
                .map(|(name, _)| ELEMENT_STEPS + name.len())
                .sum(),
        )?;
        for (name, value) in Elements::new(document) {
            if sought.is_empty() {
                return Ok(false);
            }
            self.meter
                .charge(ELEMENT_STEPS + name.len() + sought.len())?;
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

    /// Goes on from a field with each of `rests`.
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

/// The steps to visit one element, or to take one component off a path.
pub(super) const ELEMENT_STEPS: usize = 4;

/// The steps to put a path together from its components, besides its length.
pub(super) const PATH_STEPS: usize = 100;

fn split(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match path.iter().position(|&byte| byte == b'.') {
        Some(dot) => (&path[..dot], Some(&path[dot + 1..])),
        None => (path, None),
    }
}

fn is_number(component: &[u8]) -> bool {
    !component.is_empty() && component.iter().all(u8::is_ascii_digit)
}
