//! Random policies, claims, documents and filters that meet in few names and values.

use bson::{Bson, Document, doc};

use super::filters;
use super::random::Random;
use super::values;

/// The paths that policies ask for.
const PATHS: &[&str] = &[
    "tenant",
    "tenant",
    "tenant",
    "data.tenant",
    "data.tenant",
    "data.order.level",
    "data.0",
    "level",
    "a",
    "a.b",
    "b.0.a",
];
const ONE: &[&str] = &["tenant", "tenant", "region", "level", "flag"];
const MANY: &[&str] = &["groups", "levels", "region"];

/// Makes a value that is neither a document nor an array.
fn scalar(random: &mut Random) -> Bson {
    match random.below(16) {
        0..=3 => "a".into(),
        4 | 5 => "b".into(),
        6 => Bson::Int32(1 + random.int(3)),
        7 => Bson::Int64(i64::from(1 + random.int(3))),
        8 => Bson::Double(f64::from(1 + random.int(3))),
        9 => Bson::Decimal128("2.0".parse().expect("a decimal")),
        10 => Bson::Double(2.5),
        11 => Bson::Int64((1 << 53) + 1),
        12 => Bson::Double(9_007_199_254_740_992.0),
        13 => Bson::Boolean(random.one_in(2)),
        14 => random.pick(&["", "$claims.tenant", "A"]).into(),
        _ => values::value(random, 0),
    }
}

/// Makes claims; some of them no policy can use.
pub(crate) fn claims(random: &mut Random) -> Document {
    let mut claims = Document::new();
    for name in ["region", "level", "flag", "tenant"] {
        if !random.one_in(16) {
            claims.insert(name, scalar(random));
        }
    }
    for name in ["groups", "levels"] {
        let count = random.below(4);
        let list: Vec<Bson> = (0..count).map(|_| scalar(random)).collect();
        claims.insert(name, list);
    }
    claims
}

/// Makes a document: half of its fields are of the shapes with which people get around a policy.
pub(crate) fn document(random: &mut Random) -> Document {
    let mut document = values::document(random, 2);
    for name in ["tenant", "level"] {
        if let Some(value) = shape(random, name) {
            document.insert(name, value);
        }
    }
    let below = |random: &mut Random| {
        let mut data = Document::new();
        for name in ["tenant", "0"] {
            if let Some(value) = shape(random, name) {
                data.insert(name, value);
            }
        }
        let level = shape(random, "level");
        let order = level.map_or(doc! {}, |level| doc! {"level": level});
        data.insert(
            "order",
            match random.below(4) {
                0 => Bson::Array(vec![order.into()]),
                _ => order.into(),
            },
        );
        Bson::Document(data)
    };
    let data = match random.below(8) {
        0 => vec![below(random)].into(),
        1 => vec![below(random), below(random)].into(),
        2 => vec![Bson::Array(vec![below(random)])].into(),
        3 => scalar(random),
        _ => below(random),
    };
    if !random.one_in(10) {
        document.insert("data", data);
    }
    document
}

fn shape(random: &mut Random, name: &str) -> Option<Bson> {
    let one = scalar(random);
    Some(match random.below(16) {
        0 => vec![one].into(),
        1 => vec!["b".into(), one].into(),
        2 => vec![Bson::Array(vec![one])].into(),
        3 => vec![doc! {name: one}].into(),
        4 => doc! {name: one}.into(),
        5 => Bson::Array(Vec::new()),
        6 => Bson::Null,
        7 => return None,
        _ => one,
    })
}

/// Makes the part of a policy that says what may be received. A few are refused.
pub(crate) fn template(random: &mut Random, pool: &[Bson]) -> Document {
    let mut templates = Templates { random, pool };
    if templates.random.one_in(3) {
        return doc! {"tenant": "$claims.tenant"};
    }
    templates.query(2, false)
}

struct Templates<'a> {
    random: &'a mut Random,
    pool: &'a [Bson],
}

impl Templates<'_> {
    fn query(&mut self, depth: usize, negated: bool) -> Document {
        let members = self.random.pick(&[1, 1, 1, 2, 2, 3]);
        let mut query = Document::new();
        for _ in 0..members {
            if depth > 0 && self.random.one_in(3) {
                let operators: &[&str] = if negated {
                    &["$and", "$or"]
                } else {
                    &["$and", "$or", "$or", "$nor"]
                };
                let operator = self.random.pick(operators);
                let negated = negated || operator == "$nor";
                let branches = 1 + self.random.below(3);
                let branches: Vec<Document> = (0..branches)
                    .map(|_| self.query(depth - 1, negated))
                    .collect();
                query.insert(operator, branches);
            } else {
                let path = self.random.pick(PATHS);
                let value = self.field(negated);
                query.insert(path, value);
            }
        }
        query
    }

    fn field(&mut self, negated: bool) -> Bson {
        if self.random.one_in(3) {
            return self.one();
        }
        let mut operators = Document::new();
        for _ in 0..self.random.pick(&[1, 1, 1, 2]) {
            let (operator, operand) = self.operator(negated);
            operators.insert(operator, operand);
        }
        operators.into()
    }

    fn operator(&mut self, negated: bool) -> (&'static str, Bson) {
        let most = if negated { 12 } else { 18 };
        match self.random.below(most) {
            0 | 1 => ("$eq", self.one()),
            2..=5 => {
                let operator = self.random.pick(&["$gt", "$gte", "$lt", "$lte"]);
                (operator, self.one())
            }
            6..=8 => ("$in", self.many()),
            9 => ("$exists", true.into()),
            10 => {
                let name = self.random.pick(&["string", "number", "bool", "object"]);
                ("$type", name.into())
            }
            11 => ("$regex", self.random.pick(&["^a", "b", "^"]).into()),
            12 | 13 => ("$ne", self.one()),
            14 => ("$nin", self.many()),
            15 => ("$exists", false.into()),
            _ => {
                let (operator, operand) = self.operator(true);
                ("$not", doc! {operator: operand}.into())
            }
        }
    }

    fn one(&mut self) -> Bson {
        match self.random.below(6) {
            0..=3 => format!("$claims.{}", self.random.pick(ONE)).into(),
            4 => self.pool[self.random.below(self.pool.len())].clone(),
            _ => scalar(self.random),
        }
    }

    fn many(&mut self) -> Bson {
        let count = self.random.below(3);
        match self.random.below(4) {
            0 | 1 => format!("$claims.{}", self.random.pick(MANY)).into(),
            2 => vec!["$claims.tenant", "$claims.region"].into(),
            _ => (0..count)
                .map(|_| scalar(self.random))
                .collect::<Vec<_>>()
                .into(),
        }
    }
}

/// Makes a user's filter: any, or one about the fields of policies.
pub(crate) fn user(random: &mut Random, pool: &[Bson]) -> Document {
    match random.below(4) {
        0 => doc! {},
        1 => filters::filter(random, pool),
        2 => {
            let operator = random.pick(&["$eq", "$ne", "$gte", "$lt", "$not"]);
            let operand = match operator {
                "$not" => doc! {"$eq": scalar(random)}.into(),
                _ => scalar(random),
            };
            doc! {random.pick(PATHS): {operator: operand}}
        }
        _ => {
            let branches = 1 + random.below(3);
            let branches: Vec<Document> = (0..branches)
                .map(|_| doc! {random.pick(PATHS): scalar(random)})
                .collect();
            doc! {random.pick(&["$or", "$nor", "$and"]): branches}
        }
    }
}
