//! Random filters: every operator and every path shape, some of them malformed.

use bson::{Bson, Document, doc};

use super::patterns;
use super::random::Random;
use super::values;

/// Makes a filter. Operands often come from `pool`, the values in the documents.
pub(crate) fn filter(random: &mut Random, pool: &[Bson]) -> Document {
    Filters {
        random,
        pool,
        last: Bson::Null,
    }
    .query(3)
}

struct Filters<'a> {
    random: &'a mut Random,
    pool: &'a [Bson],
    last: Bson,
}

impl Filters<'_> {
    fn query(&mut self, depth: usize) -> Document {
        let members = self.random.pick(&[1, 1, 1, 1, 2, 2, 3, 0]);
        (0..members).map(|_| self.member(depth)).collect()
    }

    fn member(&mut self, depth: usize) -> (String, Bson) {
        if depth > 0 && self.random.one_in(4) {
            return self.logical(depth);
        }
        let path = self.path();
        if self.random.one_in(4) {
            return (path, self.operand());
        }
        (path, self.operators(depth).into())
    }

    fn logical(&mut self, depth: usize) -> (String, Bson) {
        let operand = self.operand();
        let (name, value) = match self.random.below(24) {
            0 => ("$alwaysTrue", self.one()),
            1 => ("$alwaysFalse", self.one()),
            2 => ("$comment", operand),
            3 => (self.random.pick(&["$id", "$ref", "$db"]), operand),
            4 if self.random.one_in(4) => (
                self.random.pick(&["$foo", "$not", "$gt", "$", "$x"]),
                operand,
            ),
            5 if self.random.one_in(4) => (self.random.pick(&["$and", "$or", "$nor"]), operand),
            _ => {
                let count = self.random.pick(&[1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 0]);
                let branches: Vec<_> = (0..count)
                    .map(|_| Bson::Document(self.query(depth - 1)))
                    .collect();
                (
                    self.random.pick(&["$and", "$or", "$or", "$nor"]),
                    branches.into(),
                )
            }
        };
        (name.to_owned(), value)
    }

    fn one(&mut self) -> Bson {
        if self.random.one_in(12) {
            self.operand()
        } else {
            Bson::Int32(1)
        }
    }

    fn path(&mut self) -> String {
        let components = self.random.pick(&[1, 1, 1, 2, 2, 2, 3, 4]);
        let names: Vec<_> = (0..components).map(|_| values::name(self.random)).collect();
        names.join(".")
    }

    /// Makes a document of operators, sometimes with a plain field among them.
    fn operators(&mut self, depth: usize) -> Document {
        let count = self.random.pick(&[1, 1, 1, 1, 2, 2]);
        let mut document = Document::new();
        for _ in 0..count {
            self.operator(depth, &mut document);
        }
        if self.random.one_in(60) {
            document.insert(values::name(self.random), 1);
        }
        document
    }

    fn operator(&mut self, depth: usize, document: &mut Document) {
        let operand = self.operand();
        let nested = depth > 0;
        let (name, value) = match self.random.below(26) {
            0..=3 => (self.random.pick(&["$eq", "$ne", "$eq", "$ne"]), operand),
            4..=9 => (self.random.pick(&["$gt", "$gte", "$lt", "$lte"]), operand),
            10 | 11 => (self.random.pick(&["$in", "$nin", "$in"]), self.list()),
            12 => ("$exists", operand),
            13 => ("$type", self.types()),
            14 => ("$mod", self.modulo()),
            15 | 16 => return self.regex(document),
            17 => ("$all", self.all(depth)),
            18 | 19 if nested => ("$elemMatch", self.elem_match(depth - 1).into()),
            20 => ("$size", self.size()),
            21 => (
                self.random.pick(&[
                    "$bitsAllSet",
                    "$bitsAnySet",
                    "$bitsAllClear",
                    "$bitsAnyClear",
                ]),
                self.bits(),
            ),
            22 | 23 if nested => ("$not", self.negated(depth - 1)),
            24 if self.random.one_in(6) => (self.random.pick(OPERATORS), operand),
            _ => ("$eq", operand),
        };
        document.insert(name, value);
    }

    fn negated(&mut self, depth: usize) -> Bson {
        match self.random.below(8) {
            0 => self.operand(),
            1 => Bson::RegularExpression(values::regex(self.random)),
            _ => self.operators(depth).into(),
        }
    }

    fn elem_match(&mut self, depth: usize) -> Document {
        if self.random.one_in(2) {
            self.operators(depth)
        } else {
            self.query(depth)
        }
    }

    fn list(&mut self) -> Bson {
        if self.random.one_in(20) {
            return self.operand();
        }
        let count = self.random.below(4);
        (0..count)
            .map(|_| self.operand())
            .collect::<Vec<_>>()
            .into()
    }

    fn all(&mut self, depth: usize) -> Bson {
        if depth == 0 || self.random.one_in(2) {
            return self.list();
        }
        let count = 1 + self.random.below(2);
        let mut items: Vec<Bson> = (0..count)
            .map(|_| doc! {"$elemMatch": self.elem_match(depth - 1)}.into())
            .collect();
        if self.random.one_in(8) {
            items.push(self.operand());
        }
        items.into()
    }

    fn regex(&mut self, document: &mut Document) {
        let pattern = match self.random.below(6) {
            0 => Bson::RegularExpression(values::regex(self.random)),
            1 if self.random.one_in(4) => self.operand(),
            _ => Bson::String(patterns::pattern(self.random)),
        };
        if self.random.one_in(10) {
            document.insert("$options", patterns::options(self.random));
        }
        document.insert("$regex", pattern);
        if self.random.one_in(2) {
            document.insert("$options", patterns::options(self.random));
        }
    }

    fn types(&mut self) -> Bson {
        let one = |random: &mut Random| match random.below(3) {
            0 => Bson::Int32(random.int(23) - 2),
            1 => Bson::Double(random.pick(&[1.0, 2.0, 127.0, 1.5, 255.0, -1.0, 3.0, 4.0])),
            _ => Bson::String(random.pick(TYPES).to_owned()),
        };
        match self.random.below(8) {
            0 => self.operand(),
            1 => vec![one(self.random), one(self.random)].into(),
            _ => one(self.random),
        }
    }

    fn modulo(&mut self) -> Bson {
        let count = self.random.pick(&[2, 2, 2, 2, 2, 2, 2, 1, 3]);
        let mut numbers: Vec<Bson> = (0..count).map(|_| values::number(self.random)).collect();
        if self.random.one_in(2) && count == 2 {
            numbers = vec![(1 + self.random.int(4)).into(), (self.random.int(3)).into()];
        }
        if self.random.one_in(16) {
            numbers.push(self.operand());
        }
        numbers.into()
    }

    fn size(&mut self) -> Bson {
        if self.random.one_in(4) {
            self.operand()
        } else {
            Bson::Int32(self.random.int(4))
        }
    }

    fn bits(&mut self) -> Bson {
        match self.random.below(6) {
            0 => self.operand(),
            1 | 2 => Bson::Int32(self.random.int(9)),
            3 => values::number(self.random),
            _ => {
                let count = self.random.below(4);
                let positions = [0, 1, 2, 7, 8, 15, 31, 62, 63, 64, 70, 200];
                (0..count)
                    .map(|_| Bson::Int32(self.random.pick(&positions)))
                    .collect::<Vec<_>>()
                    .into()
            }
        }
    }

    /// Makes an operand: half of them are in some document, some are the last one again.
    fn operand(&mut self) -> Bson {
        let operand = match self.random.below(12) {
            0..=5 => self.pool[self.random.below(self.pool.len())].clone(),
            6 => Bson::RegularExpression(values::regex(self.random)),
            7 => Bson::Null,
            8 | 9 => return self.last.clone(),
            _ => values::value(self.random, 2),
        };
        self.last = operand.clone();
        operand
    }
}

const OPERATORS: &[&str] = &[
    "$foo",
    "$and",
    "$or",
    "$comment",
    "$options",
    "$ref",
    "$id",
    "$maxDistance",
    "$where",
    "$EQ",
    "$",
];
const TYPES: &[&str] = &[
    "double",
    "string",
    "object",
    "array",
    "binData",
    "undefined",
    "objectId",
    "bool",
    "date",
    "null",
    "regex",
    "dbPointer",
    "javascript",
    "symbol",
    "javascriptWithScope",
    "int",
    "timestamp",
    "long",
    "decimal",
    "minKey",
    "maxKey",
    "number",
    "missing",
    "Int",
];
