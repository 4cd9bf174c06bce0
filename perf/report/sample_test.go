package report

import (
	"math"
	"time"
)

// sample is a report as a search of throughput makes one: three plots, targets of which one is missed, a note.
func sample() *Report {
	r := New("rfc2544", []string{"sallyport", "lab", "rfc2544", "--size", "64,512,1400", "--note", "it's <quiet>"},
		Machine{CPU: "Example CPU @ 2.00GHz (family 6 model 85)", CPUs: 2, Core: 1, SecondCore: 1, Kernel: "6.1.0", DPDK: "22.11.7", RealTime: true, HugePages: true},
		time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC))
	r.Ended = r.Started.Add(200 * time.Second)
	r.Verdict = Verdict{Good: false, Text: "1 of 3 targets missed: 1400 bytes, outbound"}
	sizes := []string{"64", "128", "256", "512", "1024", "1280", "1518", "IMIX"}
	series := []Series{{Name: "outbound, AES-GCM-128"}, {Name: "inbound, AES-GCM-128"}, {Name: "outbound, AES-CBC, SHA-256"}, {Name: "in clear"}, {Name: "fifth"}, {Name: "sixth"}}
	for i := range sizes {
		for j := range series {
			y := 15 / (1 + 0.4*float64(i) + 0.3*float64(j))
			series[j].Points = append(series[j].Points, Point{X: float64(i), Y: y, Low: y * 0.96, High: y * 1.03})
		}
	}
	var floor []Point
	for i := range sizes {
		floor = append(floor, Point{X: float64(i), Y: 18 / (1 + 0.35*float64(i))})
	}
	r.Plots = append(r.Plots, Plot{
		Title: "Throughput against frame size", Description: "Frames a second without loss by size of the frames, for each direction and transform, beside the floor. Higher is better.",
		X: Axis{Label: "Frame size", Unit: "bytes", Ticks: Categories(sizes...)}, Y: Axis{Label: "Throughput", Unit: "Mpps"}, Series: series,
		References: []Reference{{Name: "floor", Points: floor}, {Name: "1 Mpps", At: 1}},
	})
	var latency []Series
	percentiles := []Tick{{0, "0"}, {1, "90"}, {2, "99"}, {3, "99.9"}, {4, "99.99"}}
	for _, load := range []string{"10 % of throughput", "50 %", "90 %"} {
		s := Series{Name: load}
		for i := range 41 {
			x := float64(i) / 10
			s.Points = append(s.Points, Point{X: x, Y: 8 * (1 + float64(len(latency))) * math.Pow(2, x*(1+0.3*float64(len(latency))))})
		}
		latency = append(latency, s)
	}
	r.Plots = append(r.Plots, Plot{
		Title: "Latency by percentile", Description: "How long a frame takes, by the share of frames that take no longer, at fractions of the throughput. Lower is better.",
		X: Axis{Label: "Percentile", Unit: "%", Ticks: percentiles}, Y: Axis{Label: "Latency", Unit: "us", Log: true}, Series: latency,
		References: []Reference{{Name: "target: 20 us", At: 20}},
	})
	r.Plots = append(r.Plots, Plot{
		Title: "Rate against tunnels", Description: "Frames of 64 bytes a second without loss by number of tunnels. Higher is better.",
		X: Axis{Label: "Tunnels", Log: true, Ticks: []Tick{{1, "1"}, {4, "4"}, {1000, "1,000"}, {10000, "10,000"}, {60000, "60,000"}}}, Y: Axis{Label: "Throughput", Unit: "Mpps"},
		Series: []Series{{Name: "outbound", Points: []Point{{X: 1, Y: 15}, {X: 4, Y: 14.8}, {X: 1000, Y: 9}, {X: 10000, Y: 8.1}, {X: 60000, Y: 6.9}}}},
	})
	target := func(x float64) *float64 { return &x }
	r.Rows = []Row{
		{Name: "64 bytes, 1 tunnel, outbound", Figures: []Figure{
			{Name: "throughput", Unit: "Mpps", Better: Higher, Target: target(14), Samples: []float64{15, 14.9, 15.2, 15.1, 15}},
			{Name: "latency, median", Unit: "us", Better: Lower, Target: target(20), Samples: []float64{12.25, 12.5, 11.75, 12, 13}}}},
		{Name: "1400 bytes, 1 tunnel, outbound", Note: "the port is full", Figures: []Figure{
			{Name: "throughput", Unit: "Mpps", Better: Higher, Target: target(4.2), Samples: []float64{4, 4, 4, 4, 4}},
			{Name: "latency, median", Unit: "us", Better: Lower, Samples: []float64{18, 18.5, 19, 18, 20}}}},
		{Name: "reconf, 100 tunnels added", Figures: []Figure{{Name: "frames lost", Better: Lower, Samples: []float64{0}}}},
	}
	return r
}
