//! Texts that only look like secrets and personal data.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::corpus::{DIGITS, Draw, HEX, LOWER};

/// What only looks like something, by where it comes from.
pub(super) const LOOKALIKES: [&str; 16] = [
    "uuid",
    "git",
    "npm lock",
    "cargo lock",
    "image",
    "minified",
    "hex dump",
    "test cards",
    "versions",
    "settings",
    "source",
    "placeholders",
    "numbers",
    "addresses",
    "patch",
    "log",
];

pub(super) fn lookalike(source: &str, draw: &mut Draw) -> String {
    let hash = |draw: &mut Draw, length| draw.text(HEX, length);
    match source {
        "uuid" => format!("id: {}", uuid(draw)),
        "git" => format!("commit {}\nindex {}..{} 100644", hash(draw, 40), hash(draw, 7), hash(draw, 7)),
        "npm lock" => format!(
            "\"version\": \"{}.{}.{}\",\n\"resolved\": \"https://registry.npmjs.org/{n}/-/{n}-1.0.0.tgz\",\n\"integrity\": \"sha512-{}\"",
            draw.below(20),
            draw.below(20),
            draw.below(20),
            STANDARD.encode(draw.bytes(64)),
            n = draw.text(LOWER, 8),
        ),
        "cargo lock" => format!("checksum = \"{}\"", hash(draw, 64)),
        "image" => format!("![x](data:image/png;base64,{})", STANDARD.encode(draw.bytes(900))),
        "minified" => {
            let (a, b) = (draw.text(LOWER, 1), draw.text(LOWER, 1));
            format!(
                "!function({a},{b}){{var n={a}.token||{b}.password,t=n+1e{};return t.key=\"{}\",{a}[\"{}\"]={b}}}(this,{});",
                draw.below(9),
                draw.text(LOWER, 6),
                draw.text(LOWER, 4),
                draw.text(DIGITS, 5)
            )
        }
        "hex dump" => (0..8)
            .map(|line| {
                let pairs: Vec<String> = draw.bytes(16).iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{:08x}  {}\n", line * 16, pairs.join(" "))
            })
            .collect(),
        "test cards" => format!(
            "Use the card {} with any date.",
            draw.one(&[
                "4242 4242 4242 4242",
                "4111111111111111",
                "5555-5555-5555-4444",
                "378282246310005",
                "4000056655665556",
            ])
        ),
        "versions" => format!(
            "{}@{}.{}.{}-beta.{} requires node >={}.0.0",
            draw.text(LOWER, 6),
            draw.below(30),
            draw.below(30),
            draw.below(30),
            draw.below(9),
            draw.below(20)
        ),
        _ => written(source, draw),
    }
}

/// What people and programs write.
fn written(source: &str, draw: &mut Draw) -> String {
    match source {
        "settings" => format!(
            "{} = {}",
            draw.one(&[
                "max_tokens",
                "token_limit",
                "password_min_length",
                "secret_name",
                "token_ttl",
                "total_tokens"
            ]),
            draw.text("123456789", 6)
        ),
        "source" => draw.one(&SOURCE).to_owned(),
        "placeholders" => draw.one(&PLACEHOLDERS).to_owned(),
        "numbers" => format!(
            "at {} took {}.{} for {} of {}",
            1_700_000_000_000_u64 + draw.next() % 100_000_000_000,
            draw.below(90),
            draw.text(DIGITS, 16),
            draw.text("123456789", 9),
            draw.text("123456789", 12)
        ),
        "addresses" => draw.one(&ADDRESSES).to_owned(),
        "patch" => format!(
            "@@ -{},7 +{},9 @@\n+{}\n-    let x = {};\n+    let y = +{};",
            draw.below(900),
            draw.below(900),
            draw.text("123456789", 11),
            draw.text(DIGITS, 10),
            draw.text("123456789", 8)
        ),
        _ => format!(
            "2026-11-{:02}T10:{:02}:07.123456Z INFO req={} peer=10.0.{}.{}:{} bytes={}",
            1 + draw.below(28),
            draw.below(60),
            uuid(draw),
            draw.below(255),
            draw.below(255),
            1024 + draw.below(60_000),
            draw.text("123456789", 7)
        ),
    }
}

fn uuid(draw: &mut Draw) -> String {
    let lengths = [8, 4, 4, 4, 12];
    lengths.map(|length| draw.text(HEX, length)).join("-")
}

const SOURCE: [&str; 14] = [
    "const token = await getToken(user.id, { refresh: true });",
    "let password = rpassword::prompt_password(\"Password: \")?;",
    "password: str = Field(..., min_length=12)",
    "if (req.headers.authorization !== `Bearer ${process.env.API_TOKEN}`) throw new Error('401');",
    "export GITHUB_TOKEN=$(gh auth token)",
    "secret: { type: String, required: true, select: false },",
    "api_key = os.environ[\"OPENAI_API_KEY\"]",
    "DATABASE_URL=postgres://postgres:postgres@localhost:5432/app_test",
    "client.setToken(tokens[index1].value2);",
    "resp = requests.get(url, headers={\"Authorization\": f\"Bearer {token}\"})",
    "let secret = SecretRef::Keyring(name.to_owned());",
    "password_hash = argon2.hash(password1, salt2)",
    "const sk = styles['sk-circle-fade-dot1'];",
    "key: \"user.password.reset.v2\", token: \"session-token-v1\"",
];
const PLACEHOLDERS: [&str; 12] = [
    "ANTHROPIC_API_KEY=sk-ant-your-key-here",
    "password = \"changeme123\"",
    "GITHUB_TOKEN=ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
    "api_key: \"<your-api-key-2>\"",
    "token: ${{ secrets.NPM_TOKEN1 }}",
    "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
    "postgres://user:password@host:5432/db",
    "mysql://${DB_USER}:${DB_PASS1}@${DB_HOST}/app",
    "password: \"{{ vault_db_password1 }}\"",
    "secret = \"env:MY_SECRET_2\"",
    "Authorization: Bearer <token>",
];
const ADDRESSES: [&str; 10] = [
    "mail alice@example.com or bob@mail.example.org",
    "git clone git@github.com:acme/widgets.git",
    "import icon from './logo@2x.png';",
    "systemctl status getty@tty1.service",
    "npm i lodash@4.17.21 @types/node@20.1.0",
    "12345+alice@users.noreply.github.com",
    "ssh deploy@build-7.internal:/srv/app",
    "@Component({ selector: 'app-root' })",
    "call 555-0142 in the film",
    "range 192.168.100.200-192.168.100.250 and 8.8.8.8",
];
