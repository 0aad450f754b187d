//! The menu's texts in English and Chinese, and the choice between them.

use super::model::Progress;

/// A language of the menu.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Chinese.
    Chinese,
}

impl Language {
    /// Returns the language of the client's environment: `LC_ALL`, `LC_MESSAGES`, `LANG` (POSIX) and `LANGUAGE` (gettext).
    pub fn from_environment<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let locale = set("LC_ALL").or_else(|| set("LC_MESSAGES")).or_else(|| set("LANG"));
        if locale.is_some_and(|locale| matches!(locale, "C" | "POSIX") || !is_utf8(locale)) {
            return Self::English;
        }
        let first = set("LANGUAGE").and_then(|languages| languages.split(':').next()).or(locale).unwrap_or_default();
        let language = first.split(['_', '-', '.', '@']).next().unwrap_or_default();
        if language.eq_ignore_ascii_case("zh") { Self::Chinese } else { Self::English }
    }
}

/// Returns whether a locale uses UTF-8. A locale that names no character set counts as UTF-8.
fn is_utf8(locale: &str) -> bool {
    let Some((_, charset)) = locale.split_once('.') else { return true };
    let charset = charset.split('@').next().unwrap_or_default();
    charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8")
}

impl Language {
    const fn pick<T: Copy>(self, english: T, chinese: T) -> T {
        match self {
            Self::English => english,
            Self::Chinese => chinese,
        }
    }

    /// The title of the list of targets.
    pub fn title(self, user: &str) -> String {
        match self {
            Self::English => format!("Bastion: choose a target, {user}"),
            Self::Chinese => format!("堡垒机：{user}，请选择目标"),
        }
    }

    /// The title of the list of logins.
    pub fn logins_title(self, target: &str) -> String {
        match self {
            Self::English => format!("Bastion: choose a login on {target}"),
            Self::Chinese => format!("堡垒机：请选择 {target} 的登录账号"),
        }
    }

    /// The label of the search field.
    pub const fn search(self) -> &'static str {
        self.pick("Search: ", "搜索：")
    }

    /// Key hints for the list of targets, the longest first.
    pub const fn hints(self) -> &'static [&'static str] {
        self.pick(
            &[
                "Type to search, arrow keys to move, Enter to connect, Esc to leave",
                "Arrows: move  Enter: connect  Esc: leave",
                "Enter, or Esc: leave",
                "Esc: leave",
            ],
            &["输入可搜索，方向键移动，回车连接，Esc 退出", "方向键移动 回车连接 Esc 退出", "Esc 退出"],
        )
    }

    /// Key hints for the list of logins, the longest first.
    pub const fn logins_hints(self) -> &'static [&'static str] {
        self.pick(
            &["Enter to connect, Esc for the targets, Ctrl-C to leave", "Enter: connect  Esc: back", "Esc: back"],
            &["回车连接，Esc 返回目标列表，Ctrl-C 退出", "回车连接 Esc 返回", "Esc 返回"],
        )
    }

    /// The progress of the rights check.
    pub fn checking(self, Progress { done, total }: Progress) -> String {
        match self {
            Self::English => format!("Checking what you may use… {done}/{total}"),
            Self::Chinese => format!("正在检查您的权限… {done}/{total}"),
        }
    }

    /// The number of targets that are hidden because the rights check failed.
    pub fn unchecked(self, count: usize) -> String {
        match self {
            Self::English => format!("Not shown, because your rights could not be checked: {count}"),
            Self::Chinese => format!("有 {count} 个目标的权限暂时无法检查，未显示"),
        }
    }

    /// Shown when a search finds nothing.
    pub const fn no_match(self) -> &'static str {
        self.pick("No match", "没有匹配项")
    }

    /// The number of targets beyond those that are listed.
    pub fn more(self, count: usize) -> String {
        match self {
            Self::English => format!("... and {count} more; type a part of a name to see fewer"),
            Self::Chinese => format!("……还有 {count} 个，输入名称的一部分可缩小范围"),
        }
    }

    /// The prompt below the numbered list.
    pub const fn prompt(self) -> &'static str {
        self.pick("Number or name (Ctrl-C to leave): ", "编号或名称（Ctrl-C 退出）：")
    }

    /// The last line before the target's output.
    pub fn connecting(self, login: &str, target: &str) -> String {
        match self {
            Self::English => format!("bastion: connecting to {target} as {login}"),
            Self::Chinese => format!("bastion: 正在以 {login} 身份连接 {target}"),
        }
    }

    /// Shown to a user who may use no target.
    pub const fn no_targets(self) -> &'static str {
        self.pick(
            "bastion: there is no target that you may use; ask an administrator of the bastion for access",
            "bastion: 没有您可以使用的目标；请向堡垒机管理员申请连接权限",
        )
    }

    /// Shown after a timeout.
    pub fn timed_out(self, minutes: u64) -> String {
        match self {
            Self::English => format!("bastion: nothing was chosen for {minutes} minutes; sign in again"),
            Self::Chinese => format!("bastion: {minutes} 分钟内未作选择，请重新登录"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&[], Language::English)]
    #[case(&[("LANG", "zh_CN.UTF-8")], Language::Chinese)]
    #[case(&[("LANG", "zh_TW.utf8@radical")], Language::Chinese)]
    #[case(&[("LANG", "zh")], Language::Chinese)]
    #[case(&[("LANG", "zha_CN")], Language::English)]
    #[case(&[("LANG", "en_GB.UTF-8"), ("LC_MESSAGES", "zh_CN.UTF-8")], Language::Chinese)]
    #[case(&[("LANG", "zh_CN.UTF-8"), ("LC_ALL", "en_GB.UTF-8")], Language::English)]
    #[case(&[("LANG", "zh_CN.UTF-8"), ("LC_ALL", "")], Language::Chinese)]
    #[case(&[("LANG", "en_GB.UTF-8"), ("LANGUAGE", "zh_CN:en")], Language::Chinese)]
    #[case(&[("LANG", "zh_CN.UTF-8"), ("LANGUAGE", "en:zh")], Language::English)]
    #[case(&[("LANG", "C"), ("LANGUAGE", "zh")], Language::English)]
    #[case(&[("LANGUAGE", "zh-Hans")], Language::Chinese)]
    #[case(&[("LANG", "zh_CN.GB18030")], Language::English)]
    fn the_environment_selects_the_language(#[case] set: &[(&str, &str)], #[case] expected: Language) {
        let variable = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        assert_eq!(Language::from_environment(variable), expected);
    }
}
