//! The JSON of an explanation.

use bson::{Bson, RawBson};

use crate::{
    extjson::{write_string, write_value},
    filter::Explanation,
};

/// Appends the tree: each part with its pointer, which begins with `root`, its result and the values that it saw.
pub(in crate::http::resources) fn write(
    part: &Explanation,
    root: &str,
    out: &mut String,
) -> Result<(), bson::error::Error> {
    out.push_str(r#"{"pointer":"#);
    write_string(&format!("{root}{}", part.pointer), out);
    out.push_str(if part.holds {
        r#","holds":true"#
    } else {
        r#","holds":false"#
    });
    if part.parts.is_empty() || !part.saw.is_empty() {
        list(out, "saw", &part.saw, saw)?;
    }
    if part.truncated {
        out.push_str(r#","truncated":true"#);
    }
    if !part.parts.is_empty() {
        list(out, "parts", &part.parts, |part, out| {
            write(part, root, out)
        })?;
    }
    out.push('}');
    Ok(())
}

fn saw(value: &Bson, out: &mut String) -> Result<(), bson::error::Error> {
    write_value(RawBson::try_from(value.clone())?.as_raw_bson_ref(), out)
}

/// Appends `,"NAME":[…]`.
fn list<T>(
    out: &mut String,
    name: &str,
    items: &[T],
    one: impl Fn(&T, &mut String) -> Result<(), bson::error::Error>,
) -> Result<(), bson::error::Error> {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        one(item, out)?;
    }
    out.push(']');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Filter;
    use bson::{RawDocumentBuf, doc};
    use serde_json::{Value, json};

    fn check(filter: bson::Document, event: bson::Document, expected: &Value) {
        let raw = |document| RawDocumentBuf::try_from(&document).unwrap();
        let filter = Filter::parse(&raw(filter)).unwrap();
        let mut text = String::new();
        write(&filter.explain(&raw(event)), "#/filter", &mut text).unwrap();
        assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), expected);
    }

    #[test]
    fn parts_and_values_have_their_pointers() {
        check(
            doc! {"type": "a", "$or": [{"n": {"$gt": 2}}, {"at": bson::DateTime::from_millis(0)}]},
            doc! {"type": "a", "n": [1, 2]},
            &json!({"pointer": "#/filter", "holds": false, "parts": [
                {"pointer": "#/filter/type", "holds": true, "saw": ["a"]},
                {"pointer": "#/filter/$or", "holds": false, "parts": [
                    {"pointer": "#/filter/$or/0/n/$gt", "holds": false, "saw": [1, 2, [1, 2]]},
                    {"pointer": "#/filter/$or/1/at", "holds": false, "saw": []},
                ]},
            ]}),
        );
    }

    #[test]
    fn an_elem_match_shows_the_element_that_its_parts_are_about() {
        check(
            doc! {"items": {"$elemMatch": {"sku": "x", "qty": {"$gt": 5}}}},
            doc! {"items": [{"sku": "y", "qty": 1}, {"sku": "x", "qty": 2}]},
            &json!({"pointer": "#/filter/items/$elemMatch", "holds": false,
            "saw": [{"sku": "x", "qty": 2}], "parts": [
                {"pointer": "#/filter/items/$elemMatch/sku", "holds": true, "saw": ["x"]},
                {"pointer": "#/filter/items/$elemMatch/qty/$gt", "holds": false, "saw": [2]},
            ]}),
        );
    }
}
