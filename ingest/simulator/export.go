package simulator

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/encoding/simplifiedchinese"
)

// The files that [Firm.Export] writes.
const (
	CustomersFile  = "customers.csv"
	ContactsFile   = "contacts.csv"
	OrdersFile     = "orders.csv"
	OrderLinesFile = "order_lines.csv"
	TicketsFile    = "tickets.csv"
	AdClicksFile   = "ad_clicks.xlsx"
)

// shanghai is the zone of the firm's files. It has had no summer time since
// 1991.
var shanghai = time.FixedZone("Asia/Shanghai", 8*60*60)

// Export writes what the firm's systems hold as they would export it, each in
// its own way, into a directory that exists:
//
//   - customers.csv and contacts.csv: GB18030, CRLF, a Chinese header; of a
//     contact a row for each employment;
//   - orders.csv and order_lines.csv: semicolons, decimal commas, points between
//     thousands; an order's lines stand under its number;
//   - tickets.csv: UTF-8 with a byte order mark, a row for each change of state,
//     days first, "?" where nobody noted;
//   - ad_clicks.xlsx: a workbook with real dates.
//
// Times are those of Shanghai, without saying so. The files in all tell exactly
// [Firm.ExportedEvents]; docs/examples has the mappings that read them.
func (f Firm) Export(dir string) (err error) {
	e, err := newExport(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	if err := e.headers(); err != nil {
		return err
	}
	for accounts := range f.cohorts() {
		for _, a := range accounts {
			if err := e.account(a); err != nil {
				return err
			}
		}
	}
	return nil
}

// export is the files being written.
type export struct {
	customers, contacts, orders, lines, tickets *csv.Writer
	clicks                                      *workbook
	closers                                     []func() error // in the order in which they are called
}

const byteOrderMark = "\ufeff"

func newExport(dir string) (*export, error) {
	e := &export{}
	for _, f := range []struct {
		name          string
		to            **csv.Writer
		delimiter     rune
		chinese, mark bool
	}{
		{CustomersFile, &e.customers, ',', true, false},
		{ContactsFile, &e.contacts, ',', true, false},
		{OrdersFile, &e.orders, ';', false, false},
		{OrderLinesFile, &e.lines, ';', false, false},
		{TicketsFile, &e.tickets, ',', false, true},
	} {
		file, err := e.create(dir, f.name)
		if err != nil {
			return nil, errors.Join(err, e.close())
		}
		if f.mark {
			if _, err := io.WriteString(file, byteOrderMark); err != nil {
				return nil, errors.Join(err, e.close())
			}
		}
		if f.chinese {
			file = simplifiedchinese.GB18030.NewEncoder().Writer(file)
		}
		w := csv.NewWriter(file)
		w.Comma, w.UseCRLF = f.delimiter, f.chinese
		e.closers = append([]func() error{func() error { w.Flush(); return w.Error() }}, e.closers...)
		*f.to = w
	}
	file, err := e.create(dir, AdClicksFile)
	if err != nil {
		return nil, errors.Join(err, e.close())
	}
	e.clicks, err = newWorkbook(file, "clicks")
	if err != nil {
		return nil, errors.Join(err, e.close())
	}
	e.closers = append([]func() error{e.clicks.close}, e.closers...)
	return e, nil
}

func (e *export) create(dir, name string) (io.Writer, error) {
	file, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", name, err)
	}
	buffered := bufio.NewWriter(file)
	e.closers = append([]func() error{buffered.Flush, file.Close}, e.closers...)
	return buffered, nil
}

func (e *export) close() error {
	var all []error
	for _, c := range e.closers {
		all = append(all, c())
	}
	return errors.Join(all...)
}

func (e *export) headers() error {
	return errors.Join(
		e.customers.Write([]string{"客户编号", "客户名称", "行业", "省份", "城市", "地址", "负责人", "员工人数", "建档时间"}),
		e.contacts.Write([]string{"记录号", "联系人编号", "客户编号", "姓名", "职务", "邮箱", "手机", "起始时间"}),
		e.orders.Write([]string{"order_no", "contact", "customer", "ordered", "currency", "total", "tax", "shipping", "delivered", "cancelled", "refunded", "refund", "reason"}),
		e.lines.Write([]string{"order_no", "pos", "sku", "product", "quantity", "unit_price"}),
		e.tickets.Write([]string{"entry", "ticket", "when", "state", "contact", "customer", "topic", "channel", "priority", "agent", "score"}),
		e.clicks.row("click", "clicked at", "campaign", "source", "medium", "cost", "currency", "contact", "customer"),
	)
}

func (e *export) account(a *account) error {
	c := a.company
	err := e.customers.Write([]string{c.no, c.name, c.industry, c.province, c.city, c.address, c.owner, strconv.Itoa(c.employees), chineseTime(c.since)})
	for _, w := range a.employments {
		err = errors.Join(err, e.contacts.Write([]string{w.no, w.contact, w.company, w.name, w.title, w.email, w.phone, chineseTime(w.since)}))
	}
	for _, o := range a.orders {
		err = errors.Join(err, e.order(o))
	}
	for _, t := range a.entries {
		err = errors.Join(err, e.tickets.Write(ticketRow(t)))
	}
	for _, c := range a.clicks {
		ad := campaigns[c.of]
		err = errors.Join(err, e.clicks.row(c.no, c.at.In(shanghai), ad.name, ad.source, ad.medium, float64(c.cost)/100, "CNY", c.who.contact, c.who.company))
	}
	return err
}

func (e *export) order(o order) error {
	refund := ""
	if !o.refunded.IsZero() {
		refund = decimalComma(o.refund)
	}
	err := e.orders.Write([]string{
		o.no, o.who.contact, o.who.company, localTime(o.placed), o.currency, decimalComma(o.total()), decimalComma(o.tax), decimalComma(o.shipping),
		localTime(o.delivered), localTime(o.cancelled), localTime(o.refunded), refund, o.reason,
	})
	for i, l := range o.lines {
		of := goods[l.of]
		err = errors.Join(err, e.lines.Write([]string{o.no, strconv.Itoa(i + 1), of.no, of.name, strconv.FormatInt(l.quantity, 10), decimalComma(l.price)}))
	}
	return err
}

func ticketRow(e entry) []string {
	row := []string{e.no, e.ticket, e.at.In(shanghai).Format("02/01/2006 15:04"), e.state, e.who.contact, e.who.company, e.topic, e.channel, e.priority, e.agent, ""}
	if e.state == stateRated {
		row[len(row)-1] = strconv.FormatInt(e.score, 10)
	}
	for i, cell := range row {
		if cell == "" {
			row[i] = "?"
		}
	}
	return row
}

func chineseTime(t time.Time) string { return t.In(shanghai).Format("2006年1月2日 15:04") }

// localTime is "" of what did not happen.
func localTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(shanghai).Format("2006-01-02 15:04")
}

// decimalComma writes cents as Germans do: 1234567 is 12.345,67.
func decimalComma(cents int64) string {
	units := strconv.FormatInt(cents/100, 10)
	var grouped strings.Builder
	for i, digit := range units {
		if i > 0 && (len(units)-i)%3 == 0 {
			grouped.WriteByte('.')
		}
		grouped.WriteRune(digit)
	}
	return fmt.Sprintf("%s,%02d", grouped.String(), cents%100)
}
