//! The daemon's page in Chromium: by the keyboard alone, light, dark, narrow and printed, with names and values that mean harm.
//!
//! Pictures are left in `target/tmp/page` for people to look at.

use std::fs;
use std::io::{Write as _, stderr};
use std::path::PathBuf;

use isonym::time::Timestamp;
use isonym_fixtures::certificates::{Algorithm, Holder, self_signed, site};
use isonym_sim::{AddressKind, Fault, Release, World};
use isonym_testkit::chromium::{Browser, is_there, network_log};
use isonym_testkit::harness::{Daemon, honest};
use isonym_testkit::https::{Site, Visit, entry};
use isonym_testkit::page::{Session, header, page_of};
use isonym_testkit::program::Program;
use isonym_testkit::stage::Stage;

const LISTEN: &str = "--web-listen=127.0.0.1:0";

const SITE: &str = "d/site";

/// What a site's value may have: records of most kinds, a text that means harm, and what gives no record.
const VALUE: &str = r#"{"ip":"192.0.2.7","ip6":["2001:db8::7"],"tor":"expyuzz4wqqyqhjn.onion","map":{"www":{"alias":""},"_443":{"map":{"_tcp":{"tls":[[3,1,1,"q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="]]}}}},"txt":"<script>document.title='harm'</script>","email":"a@b","ds":"?"}"#;

/// Returns the value, with a character in it that turns the rest of a line round.
fn value() -> String {
    VALUE.replace('@', "\u{202e}")
}

/// Names whose values mean harm, which are their ends as well.
const HOSTILE: [&str; 4] = [
    "<script>document.title='harm'</script>",
    "\"><img src=http://evil.example/x onerror=document.title='harm'>",
    "</bdo></section><h2>Proved</h2><svg/onload=document.title='harm'>",
    "</style></title><meta http-equiv=refresh content=0;url=http://evil.example/>",
];

/// The least contrast of text with what is behind it. Source: WCAG 2.2, success criterion 1.4.3.
const CONTRAST: f64 = 4.5;

/// Returns the least contrast of any text of a page, with the text. Text is on the nearest colour behind it.
const LEAST_CONTRAST: &str = r"(() => {
    const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
    const light = (colour) => {
        const [r, g, b] = numbers(colour).slice(0, 3).map((it) => it / 255)
            .map((it) => it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (let it = element; it; it = it.parentElement) {
            const colour = getComputedStyle(it).backgroundColor;
            if ((numbers(colour)[3] ?? 1) === 1) return colour;
        }
        throw new Error('nothing is behind it');
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let least = [99, ''];
    while (texts.nextNode()) {
        const text = texts.currentNode.data.trim();
        const element = texts.currentNode.parentElement;
        if (!text || ['STYLE', 'PROGRESS'].includes(element.tagName)) continue;
        const [one, other] = [getComputedStyle(element).color, behind(element)].map(light);
        const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        if (contrast < least[0]) least = [contrast, text];
    }
    return least;
})()";

/// Where pictures go.
fn pictures() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("page");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Says that the test is left out, if so.
fn is_left_out() -> bool {
    if is_there() {
        return false;
    }
    // Not by a macro, which would tell nobody.
    let _ = writeln!(stderr(), "LEFT OUT: there is no Chromium, which tests/install installs");
    true
}

/// Looks at the page that is shown in all ways, and takes its pictures.
fn look_at(browser: &mut Browser, page: &str) {
    for scheme in ["light", "dark"] {
        for width in [1000, 360] {
            browser.look(width, scheme);
            let least = browser.evaluate(LEAST_CONTRAST);
            let contrast = least[0].as_f64().unwrap();
            assert!(contrast >= CONTRAST, "{page}, {scheme}: {least}");
            let wide = browser
                .evaluate("document.documentElement.scrollWidth")
                .as_u64()
                .unwrap();
            assert!(
                wide <= u64::from(width),
                "{page} is {wide} wide where there are {width} pixels"
            );
            browser.picture(&pictures().join(format!("{page}-{scheme}-{width}.png")));
        }
    }
    browser.look(1000, "light");
    // What there is to see is said to those who hear pages, too.
    for (what, expression) in [
        ("one heading above all", "document.querySelectorAll('h1').length === 1"),
        ("a language", "document.documentElement.lang === 'en'"),
        (
            "a title",
            "document.title.startsWith('Isonym') && !document.title.includes('site')",
        ),
        ("one main part", "document.querySelectorAll('main').length === 1"),
        (
            "labels",
            "[...document.querySelectorAll('input:not([type=hidden])')].every((it) => it.labels.length === 1)",
        ),
        (
            "names of buttons",
            "[...document.querySelectorAll('button')].every((it) => it.textContent.trim().length > 3)",
        ),
        (
            "no heading left out",
            "[...document.querySelectorAll('h1,h2,h3')].map((it) => +it.tagName[1])
                .every((it, at, all) => at === 0 || it <= all[at - 1] + 1)",
        ),
        (
            "no two of one id",
            "(() => { const ids = [...document.querySelectorAll('[id]')].map((it) => it.id);
                return new Set(ids).size === ids.length; })()",
        ),
        ("no script", "document.scripts.length === 0"),
    ] {
        assert_eq!(browser.evaluate(expression), true, "{page}: {what}");
    }
}

/// Presses Tab until the focus is where it is to be, and asserts that it is seen at each stop.
fn tab_to(browser: &mut Browser, selector: &str) {
    for _ in 0..40 {
        browser.press("Tab");
        let seen = "(() => { const style = getComputedStyle(document.activeElement);
            return style.outlineStyle === 'solid' && parseFloat(style.outlineWidth) >= 2; })()";
        assert_eq!(browser.evaluate(seen), true, "the focus is not seen");
        if browser.evaluate(&format!("document.activeElement.matches({selector:?})")) == true {
            return;
        }
    }
    panic!("the keyboard does not lead to {selector}");
}

/// Types a name by the keyboard alone, and waits until it is shown what it came to.
fn look_up(browser: &mut Browser, name: &str) {
    tab_to(browser, "a[href$='/']");
    browser.press("Enter");
    browser.until("the form is there", "document.querySelector('#name')?.value === ''");
    tab_to(browser, "#name");
    browser.type_text(name);
    browser.press("Enter");
    browser.until(
        "the name is found",
        "!!document.querySelector('#verdict') && document.readyState === 'complete'",
    );
}

#[tokio::test]
async fn by_the_keyboard_alone_in_all_ways_and_with_values_that_mean_harm() {
    if is_left_out() {
        return;
    }
    let mut world = World::new(4, Timestamp(1_700_000_000));
    let mut names = vec![(SITE.to_owned(), value(), AddressKind::P2pkh)];
    for text in HOSTILE {
        names.push((format!("x/{text}"), text.to_owned(), AddressKind::P2pkh));
    }
    world.register_all(&names).unwrap();
    world.mine(12);
    world.update(SITE, value(), AddressKind::P2wpkh).unwrap();
    world.mine(2);
    let (stage, _) = honest(world, 2).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[LISTEN]).await;
    let (address, token) = page_of(&daemon);
    let script = move || {
        let mut browser = Browser::start();
        browser.go(&format!("http://{address}/?token={token}"));
        // No address in the history has it.
        let history = browser.call("Page.getNavigationHistory", &serde_json::json!({}));
        let entries = history["entries"].as_array().unwrap();
        assert!(
            entries.iter().all(|entry| !entry["url"].to_string().contains(&token)),
            "{history}"
        );
        look_at(&mut browser, "start");
        look_up(&mut browser, SITE);
        let proved = browser.evaluate("document.querySelector('#verdict').textContent");
        assert!(proved.as_str().unwrap().contains("Proved"), "{proved}");
        for words in [
            "192.0.2.7",
            "2001:db8::7",
            "Keys that its sites show (TLSA)",
            "U+202E",
            "Merkle branch",
            "Parent block",
            "Registration",
            "given",
        ] {
            let found = browser.evaluate(&format!("document.body.textContent.includes({words:?})"));
            assert_eq!(found, true, "{words}");
        }
        look_at(&mut browser, "proved");
        let pdf = browser.print();
        assert!(pdf.starts_with(b"%PDF") && pdf.len() > 10_000, "{}", pdf.len());
        fs::write(pictures().join("proved.pdf"), pdf).unwrap();
        let history = browser.call("Page.getNavigationHistory", &serde_json::json!({}));
        assert!(!history.to_string().contains("site"), "{history}");
        // It is there when it is loaded anew, without a question.
        browser.call("Page.reload", &serde_json::json!({}));
        browser.until("it is there", "!!document.querySelector('.proved')");
        for text in HOSTILE {
            let name = format!("x/{text}");
            look_up(&mut browser, &name);
            let shown = browser.evaluate("document.querySelector('.value bdo').textContent");
            assert_eq!(shown, text);
            assert_eq!(browser.evaluate("document.title"), "Isonym: proved");
        }
        look_at(&mut browser, "hostile");
        look_up(&mut browser, "d/absent");
        look_at(&mut browser, "absent");
        // Another identity, by the keyboard too.
        tab_to(&mut browser, "a[href$='/']");
        browser.press("Enter");
        browser.until(
            "the form is there",
            "document.querySelectorAll('ul a[href*=look]').length > 3",
        );
        let before = browser.evaluate("location.pathname");
        tab_to(&mut browser, "form[action$=new] button");
        browser.press("Enter");
        browser.until(
            "a new identity",
            &format!("location.pathname !== {before} && !!document.querySelector('#name')"),
        );
        assert_eq!(browser.evaluate("document.querySelectorAll('a[href*=look]').length"), 0);
        let told = serde_json::to_string(&browser.events).unwrap();
        assert!(!told.contains("javascriptDialogOpening"), "{told}");
        assert!(!told.contains("Refused to apply inline style"), "{told}");
        let (_home, log) = browser.end();
        let (addresses, kinds) = network_log(&log);
        assert_eq!(addresses.into_iter().collect::<Vec<_>>(), [address.to_string()]);
        for kind in ["HOST_RESOLVER_SYSTEM_TASK", "HOST_RESOLVER_DNS_TASK"] {
            assert_eq!(kinds.get(kind), Some(&false), "{kind}");
        }
    };
    tokio::task::spawn_blocking(script).await.unwrap();
}

#[tokio::test]
async fn a_proof_that_does_not_hold_is_seen_to_be_refused() {
    if is_left_out() {
        return;
    }
    let mut world = World::new(5, Timestamp(1_700_000_000));
    world.register(SITE, value(), AddressKind::P2pkh).unwrap();
    world.mine(12);
    let stage = Stage::open(world, Release::default(), &[Some(Fault::ForgedMerkleBranch)]).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[LISTEN]).await;
    let (address, token) = page_of(&daemon);
    let script = move || {
        let mut browser = Browser::start();
        browser.go(&format!("http://{address}/?token={token}"));
        look_up(&mut browser, SITE);
        look_at(&mut browser, "refused");
        let words = browser.evaluate("document.querySelector('.verdict').innerText");
        assert!(words.as_str().unwrap().contains("Refused: no answer holds"), "{words}");
        assert_eq!(
            browser.evaluate("document.body.textContent.includes('192.0.2.7')"),
            false
        );
        // By its frame as well, whatever the colours.
        let style = browser.evaluate("getComputedStyle(document.querySelector('.verdict')).borderTopStyle");
        assert_eq!(style, "double");
    };
    tokio::task::spawn_blocking(script).await.unwrap();
}

#[tokio::test]
async fn a_page_that_waits_says_what_for() {
    if is_left_out() {
        return;
    }
    let program = Program::new();
    // Nobody answers there, and nobody says that he does not.
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let way = [
        format!("--proxy=socks5://{}", proxy.local_addr().unwrap()),
        "--server=electrum.example:50002:s".to_owned(),
    ];
    let daemon = Daemon::start_on(&program, &way, &[LISTEN]).await;
    let session = Session::begin(&daemon).await;
    let path = session.look(SITE).await;
    let waiting = session.get(&path).await;
    assert_eq!(header(&waiting, "refresh"), Some("2"), "{waiting:?}");
    let script = move || {
        let mut browser = Browser::start();
        browser.show(&waiting.body);
        let words = browser.evaluate("document.querySelector('[role=status]').innerText");
        assert!(words.as_str().unwrap().contains("loads itself anew"), "{words}");
        assert_eq!(
            browser.evaluate("!!document.querySelector('progress[aria-label]')"),
            true
        );
        look_at(&mut browser, "waiting");
    };
    tokio::task::spawn_blocking(script).await.unwrap();
}

/// Presses the button that has the site of the name that is shown checked, by the keyboard alone.
fn check(browser: &mut Browser, title: &str) {
    tab_to(browser, "form[action$=check] button");
    browser.press("Enter");
    browser.until(
        "the site is checked",
        &format!("document.title === {title:?} && document.readyState === 'complete'"),
    );
}

#[tokio::test]
async fn a_site_is_checked_when_its_button_is_pressed() {
    if is_left_out() {
        return;
    }
    let [leaf, other] = [(); 2].map(|()| self_signed(Algorithm::P256.key(), &site(&["site.bit"])));
    let served = Site::start(&[&leaf]).await;
    let value = |holder: &Holder| served.value(&[entry(3, 1, 1, &holder.spki())]);
    let mut world = World::new(6, Timestamp(1_700_000_000));
    let names = [(SITE, value(&leaf)), ("d/moved", value(&other))];
    let names = names.map(|(name, value)| (name.to_owned(), value, AddressKind::P2pkh));
    world.register_all(&names).unwrap();
    world.mine(12);
    let (stage, _) = honest(world, 2).await;
    stage.proxy.route(&served.address.ip().to_string(), served.address);
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[LISTEN]).await;
    let (address, token) = page_of(&daemon);
    let script = move || {
        let mut browser = Browser::start();
        browser.go(&format!("http://{address}/?token={token}"));
        look_up(&mut browser, SITE);
        look_at(&mut browser, "to-be-checked");
        assert_eq!(served.visits(), []);
        check(&mut browser, "Isonym: authenticated");
        look_at(&mut browser, "authenticated");
        assert_eq!(served.visits(), [Visit::Shook]);
        // It is there when it is loaded anew, and nobody is connected to for that.
        browser.call("Page.reload", &serde_json::json!({}));
        browser.until("it is there", "!!document.querySelector('.proved')");
        look_up(&mut browser, "d/moved");
        assert_eq!(served.visits(), [Visit::Shook]);
        check(&mut browser, "Isonym: not authenticated");
        look_at(&mut browser, "not-authenticated");
        let style = browser.evaluate("getComputedStyle(document.querySelector('.verdict')).borderTopStyle");
        assert_eq!(style, "double");
        tab_to(&mut browser, "main p a");
        browser.press("Enter");
        browser.until("the name is there", "document.title === 'Isonym: proved'");
        assert_eq!(served.visits(), [Visit::Shook, Visit::Shook]);
        let (_home, log) = browser.end();
        let (addresses, _) = network_log(&log);
        assert_eq!(addresses.into_iter().collect::<Vec<_>>(), [address.to_string()]);
    };
    tokio::task::spawn_blocking(script).await.unwrap();
}
