// Prints the events of one writer's folder and checks every line. docs/journal.md describes the format.
//
//	go run examples/read_journal.go journal/01a22663-e2ec-7aca-8f0c-4ae29087c914
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"log"
	"os"
	"path/filepath"
)

func main() {
	segments, _ := filepath.Glob(filepath.Join(os.Args[1], "[0-9]*.jsonl"))
	for _, segment := range segments {
		content, err := os.ReadFile(segment)
		if err != nil {
			log.Fatal(err)
		}
		lines := bytes.Split(content, []byte("\n"))
		crc := uint32(0)
		for number, text := range lines[:len(lines)-1] { // text after the last newline was never accepted
			var line struct {
				ID, Timestamp, Signal string
				EventName             string `json:"event_name"`
				Seq, Format           int
				LastCRC               string `json:"last_crc"`
			}
			if err := json.Unmarshal(text, &line); err != nil || line.Format > 2 {
				log.Fatalf("%s, line %d: damaged, or of a newer format: %v", segment, number+1, err)
			}
			if number == 0 { // the header, whose checksum has its own seed
				fmt.Sscanf(line.LastCRC, "%x", &crc)
			}
			end := bytes.LastIndex(text, []byte(`,"crc":"`))
			crc = crc32.Update(crc, crc32.IEEETable, text[:max(end, 0)])
			if end < 0 || string(text[end:]) != fmt.Sprintf(`,"crc":"%08x"}`, crc) {
				log.Fatalf("%s, line %d: the checksum does not match", segment, number+1)
			}
			if number > 0 && line.Signal != "span_start" {
				fmt.Println(line.Seq, line.Timestamp, line.EventName, line.ID)
			}
		}
	}
}
