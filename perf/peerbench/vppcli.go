package peerbench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"sallyport/perf/lab"
)

// vppCLI gives commands to VPP and reads what it answers.
type vppCLI struct {
	conn   net.Conn
	answer *bufio.Scanner
}

func (c *vppCLI) dial(socket string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	c.conn, c.answer = conn, bufio.NewScanner(conn)
	return nil
}

func (c *vppCLI) close() {
	if c.conn != nil {
		c.conn.Close()
	}
}

// run is the answer to a command. It has no end of its own: the command behind it says something that no other does.
func (c *vppCLI) run(command string) (string, error) {
	const end = "that-was-it"
	if err := c.conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return "", fmt.Errorf("peerbench: VPP: %w", err)
	}
	if _, err := fmt.Fprintf(c.conn, "%s\necho %s\n", command, end); err != nil {
		return "", fmt.Errorf("peerbench: VPP: %w", err)
	}
	var text strings.Builder
	for c.answer.Scan() {
		switch line := strings.Trim(c.answer.Text(), "\x00\r "); line {
		case end:
			return text.String(), nil
		case command, "echo " + end: // it repeats what it reads
		default:
			text.WriteString(line + "\n")
		}
	}
	return "", fmt.Errorf("peerbench: expected an answer of VPP to %q, the connection ended: %v", command, c.answer.Err())
}

// all gives commands in turn. What they answer is for an error: some name the interface that they have made.
func (c *vppCLI) all(commands []string) (string, error) {
	var said strings.Builder
	for _, command := range commands {
		text, err := c.run(command)
		if err != nil {
			return said.String(), err
		}
		if text = strings.TrimSpace(text); text != "" {
			fmt.Fprintf(&said, "%.40s: %s\n", command, text)
		}
	}
	return said.String(), nil
}

// path is the way of a packet through the graph.
func (c *vppCLI) path(ctx context.Context) (path []string, err error) {
	if _, err := c.run("trace add " + vppSource + " 1"); err != nil {
		return nil, err
	}
	if err := lab.Until(ctx, nil, "a packet through VPP", startLimit, func() (bool, error) {
		text, err := c.run("show trace")
		path = tracedNodes(text)
		return len(path) > 0, err
	}); err != nil {
		return nil, err
	}
	_, err = c.run("clear trace") // also ends it
	return path, err
}

// tracedNode is a node's heading in a trace: the time, and its name.
var tracedNode = regexp.MustCompile(`(?m)^\d+:\d+:\d+:\d+: (\S+)`)

func tracedNodes(text string) (path []string) {
	for _, found := range tracedNode.FindAllStringSubmatch(text, -1) {
		if path = append(path, found[1]); found[1] == vppLoopIn {
			path = append(path, vppLoop) // which leaves no trace
		}
	}
	return path
}

// vppNode is a line of "show runtime time".
type vppNode struct {
	packets float64
	time    float64 // of one, in ns
}

// vppNodes are those that packets have come by. A line ends in calls, packets, suspends, time and packets in a call; the state before them may have blanks.
func vppNodes(text string) map[string]vppNode {
	const columns = 5
	nodes := map[string]vppNode{}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < columns+2 {
			continue
		}
		numbers, err := numbersOf(words[len(words)-columns:])
		if err == nil && numbers[1] > 0 {
			nodes[words[0]] = vppNode{packets: numbers[1], time: numbers[3]}
		}
	}
	return nodes
}

func numbersOf(words []string) (numbers []float64, err error) {
	for _, word := range words {
		number, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, number)
	}
	return numbers, nil
}

// nodesTime is what one packet takes from the node at first to the one before the last, in ns. All packets have to have come by each node of the path as often as it
// has it, and by no other.
func nodesTime(nodes map[string]vppNode, path []string, first int) (sum float64, err error) {
	visits := map[string]float64{}
	for i, name := range path {
		visits[name]++
		if i >= first && i < len(path)-1 {
			sum += nodes[name].time
		}
	}
	packets := nodes[vppSource].packets
	if packets == 0 {
		return 0, errors.New("peerbench: expected VPP to forward packets, it forwards none")
	}
	for name, n := range nodes {
		if math.Abs(n.packets-visits[name]*packets) > vppTolerance*packets {
			return 0, fmt.Errorf("peerbench: expected each of VPP's %.0f packets %.0f times in %s, found %.0f", packets, visits[name], name, n.packets)
		}
	}
	return sum, nil
}
