use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A mail server of a few lines, which refuses the first `refused` letters for the time being. Gives what it took.
async fn smtp(listener: TcpListener, mut refused: usize, taken: mpsc::Sender<String>) {
    while let Ok((stream, _)) = listener.accept().await {
        converse(stream, &mut refused, &taken).await;
    }
}

async fn converse(stream: TcpStream, refused: &mut usize, taken: &mpsc::Sender<String>) {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
    let (mut line, mut letter, mut in_data) = (String::new(), String::new(), false);
    while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
        let answer = match line.get(..4).unwrap_or_default() {
            _ if in_data && line == ".\r\n" => {
                in_data = false;
                taken.send(std::mem::take(&mut letter)).await.unwrap();
                "250 taken\r\n"
            }
            _ if in_data => {
                letter += &line;
                ""
            }
            "EHLO" => "250-mail.example\r\n250 8BITMIME\r\n",
            "MAIL" if *refused > 0 => {
                *refused -= 1;
                "451 not now\r\n"
            }
            "DATA" => {
                in_data = true;
                "354 go on\r\n"
            }
            "QUIT" => "221 bye\r\n",
            _ => "250 ok\r\n",
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
        line.clear();
    }
}

/// An mailer in front of such a server, and what the server takes.
async fn mailer(refused: usize) -> (Mailer, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}", listener.local_addr().unwrap());
    let (send, taken) = mpsc::channel(9);
    tokio::spawn(smtp(listener, refused, send));
    let (queue, letters) = mpsc::channel(MAX_WAITING);
    let carrier = Carrier::new(&MailWay::Smtp(url)).unwrap_or_else(|error| panic!("{error}"));
    const AT_ONCE: [Duration; 2] = [Duration::ZERO; 2];
    tokio::spawn(carry_all(letters, carrier, &AT_ONCE));
    (Mailer { queue, from: "Sonde <sonde@example.net>".parse().unwrap() }, taken)
}

#[tokio::test]
async fn a_letter_arrives_at_a_mail_server() {
    let (mailer, mut taken) = mailer(0).await;
    mailer.post("ada@example.net".parse().unwrap(), "Your account", "Hello,\n\nthe token is abc.\n");
    let letter = taken.recv().await.unwrap();
    for line in ["From: Sonde <sonde@example.net>", "To: ada@example.net", "Subject: Your account", "the token is abc."]
    {
        assert!(letter.lines().any(|have| have == line), "{line}: {letter}");
    }
}

#[tokio::test]
async fn a_letter_that_is_refused_for_the_time_being_is_carried_again() {
    let (mailer, mut taken) = mailer(2).await;
    mailer.post("ada@example.net".parse().unwrap(), "first", "1");
    let letter = taken.recv().await.unwrap();
    assert!(letter.contains("Subject: first"), "{letter}");
}

#[tokio::test]
async fn a_letter_that_is_refused_too_often_is_dropped_and_the_next_one_goes_out() {
    let (mailer, mut taken) = mailer(3).await;
    mailer.post("ada@example.net".parse().unwrap(), "first", "1");
    mailer.post("ada@example.net".parse().unwrap(), "second", "2");
    // Three refusals and three attempts at the first one, in some order with those at the second.
    let letter = taken.recv().await.unwrap();
    assert!(letter.contains("Subject: "), "{letter}");
}

#[tokio::test]
async fn a_directory_takes_letters_that_only_the_operator_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mail");
    let way = MailWay::Directory(path.clone());
    let mailer = Mailer::start(&MailConfig { from: "sonde@example.net".into(), way }).unwrap_or_else(|_| panic!());
    mailer.post("ada@example.net".parse().unwrap(), "Your account", "Hello");
    let file = loop {
        let mut files = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
        if let Some(file) = files.find(|path| path.extension().is_some_and(|end| end == "eml")) {
            break file;
        }
        tokio::task::yield_now().await;
    };
    assert!(std::fs::read_to_string(&file).unwrap().contains("Subject: Your account"));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn only_this_machine_is_spoken_to_without_tls() {
    let tls = |url: &str| with_tls(url);
    assert_eq!(tls("smtp://user:p@ss@mail.example:25").unwrap(), "smtp://user:p@ss@mail.example:25?tls=required");
    for here in ["smtp://localhost:25", "smtp://127.0.0.1", "smtp://[::1]:25", "smtps://mail.example"] {
        assert_eq!(tls(here).unwrap(), here);
    }
    assert_eq!(tls("smtp://localhost.example").unwrap(), "smtp://localhost.example?tls=required");
    for bad in ["http://mail.example", "mail.example:25", "smtp://mail.example?tls=opportunistic"] {
        assert_eq!(tls(bad), None, "{bad}");
    }
}

#[test]
fn what_is_wrong_with_a_configuration_does_not_show_a_password() {
    let config = |from: &str, way| MailConfig { from: from.into(), way };
    let wrong = Mailer::start(&config("sonde@example.net", MailWay::Smtp("imap://user:secret@host".into())));
    let error = wrong.err().unwrap().to_string();
    assert!(error.contains("smtp") && !error.contains("secret"), "{error}");
    let way = MailWay::Smtp("smtps://user:secret@host".into());
    assert!(!format!("{way:?}").contains("secret"));
    let error = Mailer::start(&config("nobody", way)).err().unwrap().to_string();
    assert!(error.contains("from"), "{error}");
}
