pub fn render(_: &super::model::Report) -> String {
    String::new()
}
