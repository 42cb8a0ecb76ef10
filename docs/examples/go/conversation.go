// A conversation that draws, with Go's own library: go run conversation.go
// Needs API_URL and API_KEY in the environment.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

type job struct {
	ID             string `json:"id"`
	Status         string `json:"status"`
	Prompt         string `json:"prompt"`
	ConversationID string `json:"conversation_id"`
	Images         []struct {
		URL string `json:"url"`
	} `json:"images"`
	Error *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func call(method, path string, body any) job {
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		must(err)
		sent = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, os.Getenv("API_URL")+path, sent)
	must(err)
	request.Header.Set("Authorization", "Bearer "+os.Getenv("API_KEY"))
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	must(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(err)
	if answer.StatusCode/100 != 2 {
		must(fmt.Errorf("%s %s", answer.Status, text))
	}
	var found job
	must(json.Unmarshal(text, &found))
	return found
}

func draw(message, conversation string) job {
	request := map[string]string{"message": message}
	if conversation != "" {
		request["conversation_id"] = conversation
	}
	drawn := call("POST", "/v1/chat/text2image", request)
	for drawn.Status == "queued" || drawn.Status == "running" {
		time.Sleep(300 * time.Millisecond)
		drawn = call("GET", "/v1/jobs/"+drawn.ID, nil)
	}
	if drawn.Status != "succeeded" {
		must(fmt.Errorf("%s: %+v", drawn.Status, drawn.Error))
	}
	return drawn
}

func main() {
	beach := draw("I want to see a photo of a beach", "")
	sunset := draw("at sunset", beach.ConversationID)
	fmt.Println(sunset.Prompt)
	picture, err := http.Get(sunset.Images[0].URL)
	must(err)
	defer picture.Body.Close()
	name := os.Getenv("OUT")
	if name == "" {
		name = "beach.png"
	}
	file, err := os.Create(name)
	must(err)
	_, err = io.Copy(file, picture.Body)
	must(err)
	must(file.Close())
}
