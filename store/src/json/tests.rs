use super::*;
use crate::oci::{Descriptor, ImageConfig, Index, Manifest};
use crate::spec::Spec;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn refused<T: FromJson>(text: &[u8]) -> String {
    let error = read::<T>(text, "it").err().unwrap();
    assert_eq!(error.exit_code(), 6, "{error}");
    error.to_string()
}

#[test]
fn what_is_written_is_what_was_read() {
    let text = r#"{"b":[1,-2,18446744073709551615,1.5,true,false,null,[],{}],"a":"\"\\\n\u0001é\ud83d\ude00/"}"#;
    let value: Value = read(text.as_bytes(), "it").unwrap();
    let written = value.to_string();
    assert_eq!(written, text.replace(r"\ud83d\ude00", "\u{1f600}"));
    assert_eq!(read::<Value>(written.as_bytes(), "it").unwrap(), value);
    let pretty = object(vec![("a", read(b"[1,{}]", "it").unwrap()), ("b", Value::Null)]).pretty();
    assert_eq!(pretty, "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": null\n}");
}

// P7: what is no JSON, or not the same to every reader.
#[test]
fn refuses_what_is_not_strict_json() {
    for bad in [
        &b""[..],
        b" ",
        b"nul",
        b"{",
        b"[1,]",
        b"[1 2]",
        b"{\"a\"}",
        b"{\"a\":}",
        b"{a:1}",
        b"{'a':1}",
        b"{\"a\":1,}",
        b"1 2",
        b"{}x",
        b"{}\0",
        b"// x\n{}",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"0x10",
        b"1e999",
        b"-1e999",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\0}\0",
        b"\"\xff\"",
        b"\"\xed\xa0\x80\"",
        b"\"\xc0\xaf\"",
        b"{\"\xff\":1}",
        br#""\ud800""#,
        br#""\udc00""#,
        br#""\ud800\u0041""#,
        br#""\x41""#,
        b"\"a\nb\"",
        b"\"a",
        br#"{"a":1,"a":1}"#,
        br#"{"a":1,"b":{"c":1,"d":2,"c":3}}"#,
        br#"{"a":1,"\u0061":1}"#,
    ] {
        let line = refused::<Value>(bad);
        assert_eq!(line.lines().count(), 1, "{line}");
    }
}

// P7: nesting, and lists that would take much more memory than their bytes.
#[test]
fn depth_and_number_of_values_are_bounded() {
    let nested = |depth: usize| "[".repeat(depth) + "0" + &"]".repeat(depth);
    assert!(read::<Value>(nested(DEPTH).as_bytes(), "it").is_ok());
    assert!(refused::<Value>(nested(DEPTH + 1).as_bytes()).contains("nested too deep"));
    refused::<Value>(&b"[".repeat(4 << 20));
    refused::<Value>(&br#"{"a":"#.repeat(1 << 20));
    let wide = |values: usize| format!("[{}0]", "0,".repeat(values - 2));
    assert!(read::<Value>(wide(VALUES).as_bytes(), "it").is_ok());
    assert!(refused::<Value>(wide(VALUES + 1).as_bytes()).contains("too many values"));
    assert!(read_many::<Value>(wide(VALUES + 1).as_bytes(), VALUES + 1, "it").is_ok());
    assert!(size_of::<Value>() <= 32);
}

#[test]
fn a_value_may_be_left_unread() {
    let text = r#"{"a":{"b":[ {"c":1,"c":2}, 1e9 ],"d":{"b":1}},"b":{"a":{"b":2}}}"#;
    let around = |path: &[&str]| read_around::<Value>(text.as_bytes(), path, "it");
    let value = around(&["a", "b"]).unwrap();
    assert_eq!(value["a"]["b"], Value::Raw(r#"[ {"c":1,"c":2}, 1e9 ]"#.into()));
    assert_eq!(value.to_string(), text);
    for path in [&["b"][..], &["a", "d"], &["d", "b"], &["b", "a", "b"]] {
        assert!(around(path).unwrap_err().to_string().contains("twice"), "{path:?}");
    }
    for bad in [r#"{"a":[}"#, r#"{"a":[1}}"#, r#"{"a":"#, r#"{"a":"\x"}"#, r#"{"a":nul}"#, r#"{"a":1,"a":2}"#] {
        assert!(read_around::<Value>(bad.as_bytes(), &["a"], "it").is_err(), "{bad}");
    }
    assert!(read_around::<Value>(b"{\"a\":\"\xff\"}", &["a"], "it").is_err());
}

#[test]
fn errors_say_which_field_is_wrong() {
    let layer = |size: &str| format!(r#"{{"digest":"sha256:{HEX}","size":{size}}}"#);
    let manifest =
        |size: &str| format!(r#"{{"schemaVersion":2,"config":{0},"layers":[{0},{1}]}}"#, layer("1"), layer(size));
    assert!(read::<Manifest>(manifest("9223372036854775807").as_bytes(), "it").is_ok());
    for size in
        ["-1", "9223372036854775808", "1.0", "1e3", "-0", "99999999999999999999999", "\"1\"", "true", "{}", "[1]"]
    {
        let line = refused::<Manifest>(manifest(size).as_bytes());
        assert_eq!(line, "reading it: layers[1].size: it is not a whole number from 0 to 2^63-1", "{size}");
    }
    assert_eq!(refused::<Manifest>(manifest("null").as_bytes()), "reading it: layers[1].size: it is missing");
    assert_eq!(refused::<Manifest>(b"[]"), "reading it: it is not an object");
    assert_eq!(refused::<Index>(br#"{"schemaVersion":2}"#), "reading it: manifests: it is missing");
    let line = refused::<Index>(br#"{"schemaVersion":4294967296,"manifests":[]}"#);
    assert_eq!(line, "reading it: schemaVersion: it is more than 2^32-1");
    let line = refused::<Descriptor>(format!(r#"{{"digest":"sha256:../{HEX}","size":1}}"#).as_bytes());
    assert!(line.starts_with("reading it: digest: not a sha256 or sha512 digest"), "{line}");
    let line = refused::<ImageConfig>(br#"{"rootfs":{},"config":{"Labels":{"a\u001b":"b","c":1}}}"#);
    assert_eq!(line, r#"reading it: config.Labels["c"]: it is not text"#);
    let line = refused::<Spec>(br#"{"ociVersion":"1","process":{"cwd":"/","args":["a",7]},"root":{"path":"r"}}"#);
    assert_eq!(line, "reading it: process.args[1]: it is not text");
}

#[test]
fn what_is_not_there_is_null_or_its_default() {
    let text = br#"{"rootfs":{"diff_ids":null},"os":null,"config":{"Env":null,"Volumes":{"/v":{}}},"history":[{}]}"#;
    let config: ImageConfig = read(text, "it").unwrap();
    let execution = config.config.unwrap();
    assert_eq!((config.os.as_str(), config.variant, execution.env), ("", None, None));
    assert_eq!(execution.volumes, ["/v"]);
}

#[test]
fn unknown_fields_of_an_index_are_kept() {
    let entry = format!(
        r#"{{"mediaType":"m","digest":"sha256:{HEX}","size":2,"platform":{{"os":"linux","architecture":"arm","variant":"v7"}},"annotations":{{"a":"b"}},"urls":["u"],"data":"e30="}}"#
    );
    let text =
        format!(r#"{{"schemaVersion":2,"mediaType":"i","manifests":[{entry}],"annotations":{{"x":"y"}},"n":1.5}}"#);
    let index: Index = read(text.as_bytes(), "it").unwrap();
    assert_eq!(Value::from(&index).to_string(), text);
}

#[test]
fn a_bundle_is_read_as_it_was_written() {
    let text = r#"{"ociVersion":"1.0.2","process":{"terminal":true,"user":{"uid":1,"gid":2,"additionalGids":[3]},"args":["a"],"env":["A=b"],"cwd":"/","capabilities":{"bounding":["CAP_CHOWN"],"effective":[],"permitted":[]},"noNewPrivileges":true},"root":{"path":"rootfs","readonly":true},"hostname":"h","mounts":[{"destination":"/proc","type":"proc","source":"proc","options":["ro"]}],"linux":{"namespaces":[{"type":"pid"},{"type":"user","path":"/p"}],"maskedPaths":["/m"],"readonlyPaths":["/r"]},"annotations":{"a":"b"}}"#;
    let spec: Spec = read(text.as_bytes(), "it").unwrap();
    assert_eq!(Value::from(&spec).to_string(), text);
}
