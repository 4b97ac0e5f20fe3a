//! Explanations of why a document matches a filter or does not, clause by clause.

use bson::{Bson, RawDocument};

use super::ast::{AndSyntax, Clause, Comparison, Node, NotSyntax, Test};
use super::cost::{Steps, TooExpensive};
use super::error::push_segment;
use super::path::{self, Leaf};
use super::value::Value;

/// Most values that one clause reports, and most bytes of each.
const MAX_VALUES: usize = 8;
const MAX_VALUE_BYTES: usize = 1_024;

/// The outcome of one part of a filter. The tree follows the filter as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The part, as a JSON Pointer relative to the filter.
    pub pointer: String,
    /// True if it held.
    pub holds: bool,
    /// The values that were tried. For a condition on a path, the values there, in order; for an `$elemMatch` with
    /// parts, the element that they are about; for a member of `$all`, the value that it found. Absent values, values
    /// above 1 KiB and those after the eighth are left out.
    pub saw: Vec<Bson>,
    /// True if values were left out of `saw` for their size or number.
    pub truncated: bool,
    /// The parts of a logical operator, of an `$elemMatch` or of `$all`. The parts of an `$elemMatch` are about the
    /// first element that matched, or else the one for which most of them held. There are none if there is no element
    /// to try.
    pub parts: Vec<Explanation>,
}

impl Explanation {
    fn of_parts(place: Place, holds: bool, parts: Vec<Self>) -> Self {
        Self {
            pointer: place.pointer,
            holds,
            saw: Vec::new(),
            truncated: false,
            parts,
        }
    }
}

/// Explains the outcome of a whole filter within `steps`.
pub(super) fn explain(
    root: &Node,
    document: &[u8],
    steps: &mut Steps,
) -> Result<Explanation, TooExpensive> {
    let subject = Subject::Document(document);
    Explainer { subject, steps }.node(root, &Place::default())
}

impl Explanation {
    /// Makes an explanation of the outcome alone, for a filter that is too expensive to explain.
    pub(super) fn bare(holds: bool) -> Self {
        Self {
            truncated: true,
            ..Self::of_parts(Place::default(), holds, Vec::new())
        }
    }
}

/// The place of a node: the pointer to its surroundings, and whether that contains its path already.
#[derive(Clone, Default)]
struct Place {
    pointer: String,
    in_field: bool,
}

impl Place {
    fn then(&self, segment: &str) -> Self {
        let mut place = self.clone();
        push_segment(&mut place.pointer, segment);
        place
    }

    fn at_path(&self, path: &str) -> Self {
        if self.in_field {
            return self.clone();
        }
        Self {
            in_field: true,
            ..self.then(path)
        }
    }
}

/// The subject of the conditions.
#[derive(Clone, Copy)]
enum Subject<'d> {
    /// A document, or an array treated as one.
    Document(&'d [u8]),
    /// An element of an array, tested by operators without a path.
    Element(Value<'d>),
}

type Paid<T> = Result<T, TooExpensive>;

impl<'d> Subject<'d> {
    fn meets(self, node: &Node, steps: &mut Steps) -> Paid<bool> {
        match self {
            Self::Document(document) => node.matches(document, steps),
            Self::Element(value) => node.matches_value(value, steps),
        }
    }

    /// Counts the conditions of a conjunction that are met.
    fn meets_of(self, node: &Node, steps: &mut Steps) -> Paid<usize> {
        let nodes = match node {
            Node::And(AndSyntax::Implicit, nodes) => nodes,
            node => std::slice::from_ref(node),
        };
        let mut met = 0;
        for node in nodes {
            met += usize::from(self.meets(node, steps)?);
        }
        Ok(met)
    }

    fn passes(self, clause: &Clause, steps: &mut Steps) -> Paid<bool> {
        match self {
            Self::Document(document) => clause.matches(document, steps),
            Self::Element(value) => clause.test.passes(Some(value), steps),
        }
    }

    /// Tests whether some value at the clause's path, or the absent value there, passes.
    fn passes_one(self, clause: &Clause, test: &Test, steps: &mut Steps) -> Paid<bool> {
        match self {
            Self::Document(document) => {
                let pass = &mut |value: Option<Value<'_>>, steps: &mut _| test.passes(value, steps);
                path::any(document, clause.path.as_bytes(), test.leaf(), steps, pass)
            }
            Self::Element(value) => test.passes(Some(value), steps),
        }
    }

    /// Hands the present values at the clause's path to `visit` until that returns true.
    fn values(
        self,
        clause: &Clause,
        leaf: Leaf,
        steps: &mut Steps,
        mut visit: impl FnMut(Value<'d>, &mut Steps) -> Paid<bool>,
    ) -> Paid<()> {
        match self {
            Self::Document(document) => {
                let visit = &mut |value: Option<_>, steps: &mut _| match value {
                    Some(value) => visit(value, steps),
                    None => Ok(false),
                };
                path::any(document, clause.path.as_bytes(), leaf, steps, visit)?;
            }
            Self::Element(value) => {
                visit(value, steps)?;
            }
        }
        Ok(())
    }
}

struct Explainer<'s, 'd> {
    subject: Subject<'d>,
    steps: &'s mut Steps,
}

impl<'d> Explainer<'_, 'd> {
    fn node(&mut self, node: &Node, place: &Place) -> Paid<Explanation> {
        let all = |parts: &[Explanation]| parts.iter().all(|part| part.holds);
        let any = |parts: &[Explanation]| parts.iter().any(|part| part.holds);
        match node {
            Node::Always(always) => {
                let name = if *always {
                    "$alwaysTrue"
                } else {
                    "$alwaysFalse"
                };
                Ok(Explanation::of_parts(place.then(name), *always, Vec::new()))
            }
            Node::And(AndSyntax::Implicit, nodes) => {
                let parts = nodes.iter().map(|node| self.node(node, place));
                let parts = parts.collect::<Paid<Vec<_>>>()?;
                Ok(Explanation::of_parts(place.clone(), all(&parts), parts))
            }
            Node::And(AndSyntax::Operator, nodes) => self.branches("$and", nodes, place, all),
            Node::Or(nodes) => self.branches("$or", nodes, place, any),
            Node::Nor(nodes) => self.branches("$nor", nodes, place, |parts| !any(parts)),
            Node::Not(how, inner) => self.negation(*how, inner, place),
            Node::Clause(clause) => self.clause(clause, place, None),
        }
    }

    fn branches(
        &mut self,
        operator: &str,
        nodes: &[Node],
        place: &Place,
        holds: impl Fn(&[Explanation]) -> bool,
    ) -> Paid<Explanation> {
        let place = place.then(operator);
        let each = nodes.iter().enumerate();
        let parts = each.map(|(index, node)| self.node(node, &place.then(&index.to_string())));
        let parts = parts.collect::<Paid<Vec<_>>>()?;
        Ok(Explanation::of_parts(place, holds(&parts), parts))
    }

    fn negation(&mut self, how: NotSyntax, inner: &Node, place: &Place) -> Paid<Explanation> {
        let name = match how {
            NotSyntax::Not => None,
            NotSyntax::Ne => Some("$ne"),
            NotSyntax::Nin => Some("$nin"),
            NotSyntax::Absent => Some("$exists"),
        };
        if let (Some(name), Node::Clause(clause)) = (name, inner) {
            let positive = self.clause(clause, place, Some(name))?;
            return Ok(Explanation {
                holds: !positive.holds,
                ..positive
            });
        }
        let path = first_clause(inner).map_or("", |clause| clause.path.as_str());
        let place = place.at_path(path).then("$not");
        let part = self.node(inner, &place)?;
        Ok(Explanation::of_parts(place, !part.holds, vec![part]))
    }

    /// Explains a clause. `name` is the operator that it was written with, if that is not its test's own.
    fn clause(&mut self, clause: &Clause, place: &Place, name: Option<&str>) -> Paid<Explanation> {
        let place = place.at_path(clause.path.as_str());
        let name = name.or_else(|| (!clause.implicit).then(|| operator(&clause.test)));
        let place = name.map_or_else(|| place.clone(), |name| place.then(name));
        let (saw, truncated) = self.saw(clause)?;
        let own = Explanation {
            pointer: place.pointer.clone(),
            holds: self.subject.passes(clause, self.steps)?,
            saw,
            truncated,
            parts: Vec::new(),
        };
        match &clause.test {
            Test::ElemMatchDocument(_) | Test::ElemMatchValue(_) => {
                self.elem_match(clause, &clause.test, own)
            }
            Test::All(tests) => {
                let members = tests.iter().enumerate();
                let parts = members.map(|(at, test)| self.member(clause, test, at, &place));
                Ok(Explanation {
                    parts: parts.collect::<Paid<_>>()?,
                    ..own
                })
            }
            _ => Ok(own),
        }
    }

    /// Completes `whole`, an `$elemMatch`, with parts about one element.
    fn elem_match(
        &mut self,
        clause: &Clause,
        test: &Test,
        whole: Explanation,
    ) -> Paid<Explanation> {
        let Some((element, subject, node)) = self.closest(clause, test)? else {
            return Ok(whole);
        };
        let place = Place {
            pointer: whole.pointer.clone(),
            in_field: matches!(subject, Subject::Element(_)),
        };
        let steps = &mut *self.steps;
        let inner = Explainer { subject, steps }.node(node, &place)?;
        let saw: Vec<_> = to_bson(element).into_iter().collect();
        Ok(Explanation {
            truncated: saw.is_empty(),
            saw,
            parts: match node {
                Node::And(AndSyntax::Implicit, _) => inner.parts,
                _ => vec![inner],
            },
            ..whole
        })
    }

    /// Returns the first element that an `$elemMatch` matches, or else the first one that meets most of it.
    fn closest<'t>(
        &mut self,
        clause: &Clause,
        test: &'t Test,
    ) -> Paid<Option<(Value<'d>, Subject<'d>, &'t Node)>> {
        let (node, of_documents) = match test {
            Test::ElemMatchDocument(node) => (&**node, true),
            Test::ElemMatchValue(node) => (&**node, false),
            _ => return Ok(None),
        };
        let mut best: Option<(usize, Value<'d>, Subject<'d>)> = None;
        let subject_of = |element: Value<'d>| match of_documents {
            false => Some(Subject::Element(element)),
            true if element.is_document() || element.is_array() => {
                Some(Subject::Document(element.bytes()))
            }
            true => None,
        };
        let visit = |array: Value<'d>, steps: &mut Steps| {
            for (_, element) in array.elements().filter(|_| array.is_array()) {
                let Some(subject) = subject_of(element) else {
                    continue;
                };
                let met = subject.meets_of(node, steps)?;
                if best.as_ref().is_none_or(|(most, ..)| met > *most) {
                    best = Some((met, element, subject));
                }
                if subject.meets(node, steps)? {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        self.subject
            .values(clause, Leaf::Whole, self.steps, visit)?;
        Ok(best.map(|(_, element, subject)| (element, subject, node)))
    }

    /// Explains a member of `$all`, with the first value that passes.
    fn member(
        &mut self,
        clause: &Clause,
        test: &Test,
        at: usize,
        all: &Place,
    ) -> Paid<Explanation> {
        let place = all.then(&at.to_string());
        let mut found = None;
        let visit = |value: Value<'d>, steps: &mut Steps| {
            let passes = test.passes(Some(value), steps)?;
            found = passes.then_some(value);
            Ok(passes)
        };
        self.subject
            .values(clause, test.leaf(), self.steps, visit)?;
        let saw: Vec<_> = found.and_then(to_bson).into_iter().collect();
        let own = |place: Place, holds| Explanation {
            pointer: place.pointer,
            holds,
            truncated: found.is_some() && saw.is_empty(),
            saw: saw.clone(),
            parts: Vec::new(),
        };
        match test {
            Test::ElemMatchDocument(_) | Test::ElemMatchValue(_) => {
                let whole = own(place.then(operator(test)), found.is_some());
                self.elem_match(clause, test, whole)
            }
            // Null matches the absent value too.
            _ => Ok(own(
                place,
                self.subject.passes_one(clause, test, self.steps)?,
            )),
        }
    }

    /// Copies the values at the clause's path within bounds. Returns whether some are left out, too.
    fn saw(&mut self, clause: &Clause) -> Paid<(Vec<Bson>, bool)> {
        let mut saw = Vec::new();
        let mut truncated = false;
        let visit = |value: Value<'d>, _: &mut Steps| {
            match to_bson(value) {
                Some(value) if saw.len() < MAX_VALUES => saw.push(value),
                _ => truncated = true,
            }
            Ok(truncated && saw.len() == MAX_VALUES)
        };
        let leaf = clause.test.leaf();
        self.subject.values(clause, leaf, self.steps, visit)?;
        Ok((saw, truncated))
    }
}

/// Returns the first clause below `node`: everything below a `$not` is about the same path.
fn first_clause(node: &Node) -> Option<&Clause> {
    match node {
        Node::Clause(clause) => Some(clause),
        Node::Not(_, node) => first_clause(node),
        Node::And(_, nodes) | Node::Or(nodes) | Node::Nor(nodes) => {
            nodes.iter().find_map(first_clause)
        }
        Node::Always(_) => None,
    }
}

/// Returns the operator that a test is written as.
fn operator(test: &Test) -> &'static str {
    match test {
        Test::Compare(Comparison::Eq, _) => "$eq",
        Test::Compare(Comparison::Gt, _) => "$gt",
        Test::Compare(Comparison::Gte, _) => "$gte",
        Test::Compare(Comparison::Lt, _) => "$lt",
        Test::Compare(Comparison::Lte, _) => "$lte",
        Test::In(_) => "$in",
        Test::Exists => "$exists",
        Test::Type(_) => "$type",
        Test::Regex(_) => "$regex",
        Test::Mod(_) => "$mod",
        Test::Size(_) => "$size",
        Test::Bits(test) => test.operator.name(),
        Test::ElemMatchDocument(_) | Test::ElemMatchValue(_) => "$elemMatch",
        Test::All(_) => "$all",
    }
}

/// Copies a value that is small enough.
fn to_bson(value: Value<'_>) -> Option<Bson> {
    let length = value.bytes().len() + 7;
    if length > MAX_VALUE_BYTES {
        return None;
    }
    let mut bytes = u32::try_from(length).ok()?.to_le_bytes().to_vec();
    bytes.extend([value.kind() as u8, 0]);
    bytes.extend_from_slice(value.bytes());
    bytes.push(0);
    let document = RawDocument::from_bytes(&bytes).ok()?;
    let (_, value) = document.iter().next()?.ok()?;
    value.try_into().ok()
}
