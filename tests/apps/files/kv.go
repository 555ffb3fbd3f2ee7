// SPDX-License-Identifier: Apache-2.0
// A web server that keeps what it is given in its memory: PUT and GET /kv/KEY; /boot is a number of this process.
package main

import (
	"crypto/rand"
	"encoding/hex"
	"io"
	"log"
	"net/http"
	"sync"
	"time"
)

func main() {
	var mu sync.Mutex
	store := map[string]string{}
	number := make([]byte, 4)
	rand.Read(number)
	boot := hex.EncodeToString(number)

	// Something for the scheduler and the timers while the pod moves.
	for i := 0; i < 100; i++ {
		go func() {
			for range time.Tick(10 * time.Millisecond) {
				mu.Lock()
				_ = len(store)
				mu.Unlock()
			}
		}()
	}
	http.HandleFunc("/boot", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, boot) })
	http.HandleFunc("/kv/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			mu.Lock()
			store[r.URL.Path] = string(body)
			mu.Unlock()
			return
		}
		mu.Lock()
		value, ok := store[r.URL.Path]
		mu.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, value)
	})
	log.Fatal(http.ListenAndServe(":8080", nil))
}
