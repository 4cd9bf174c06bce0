// Package report is the common form of what the lab has measured: report.go says what is in it and how it is read and written, machine.go where it was measured.
// text.go prints it as a table, page.go as a page for a browser, with the plots of plot.go, and compare.go says of two of them what differs by more than the noise.
package report
