// Command sink stands for the world outside in a demonstration: an SMTP server that keeps the mail it gets, and a DNS
// server for a zone that is published to it. In its pod the other commands talk to the running server.
//
//	sink serve            SMTP on port 2525, DNS on port 5353, control on 127.0.0.1:8080
//	sink publish          add the records on standard input, one zone-file line each, to the zone
//	sink messages         print the messages that arrived: headers only
//	sink send -server HOST:PORT -from ADDRESS -to ADDRESS[,ADDRESS] -subject TEXT
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/smtp"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const control = "127.0.0.1:8080"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sink:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("usage: sink serve | publish | messages | send")
	}
	switch args[0] {
	case "serve":
		return serve(ctx)
	case "publish":
		return request(ctx, http.MethodPost, "/records", os.Stdin)
	case "messages":
		return request(ctx, http.MethodGet, "/messages", nil)
	case "send":
		return send(args[1:])
	}
	return fmt.Errorf("there is no command %q", args[0])
}

// request asks the server that runs in this pod and prints its answer.
func request(ctx context.Context, method, path string, body io.Reader) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+control+path, body)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", response.Status, answer)
	}
	_, err = os.Stdout.Write(answer)
	return err
}

// send hands one message to a server and prints nothing: whoever calls it says what it sends.
func send(args []string) error {
	flags := flag.NewFlagSet("sink send", flag.ExitOnError)
	server := flags.String("server", "", "host:port")
	from := flags.String("from", "", "reverse path and From")
	to := flags.String("to", "", "recipients, separated by commas")
	subject := flags.String("subject", "A first message", "Subject")
	if err := flags.Parse(args); err != nil {
		return err
	}
	_, domain, _ := strings.Cut(*from, "@")
	now := time.Now().UTC()
	message := strings.Join([]string{
		"From: " + *from,
		"To: " + *to,
		"Subject: " + *subject,
		"Date: " + now.Format(time.RFC1123Z),
		fmt.Sprintf("Message-ID: <%d@%s>", now.UnixNano(), domain),
		"", "Sent through Postrider.", "",
	}, "\r\n")
	if err := smtp.SendMail(*server, nil, *from, strings.Split(*to, ","), []byte(message)); err != nil {
		return fmt.Errorf("sending through %s: %w", *server, err)
	}
	return nil
}
