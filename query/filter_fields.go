package query

import (
	"errors"
	"reflect"
	"slices"
	"strconv"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/columns"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// How an expression sees a profile. Names and types are those of the message,
// so that a new field of it can be asked for at once:
//
//   - all numbers are one kind, doubles: counts, means, decimal strings, and
//     money where a field is one amount, in whole units;
//   - a field with presence that is not there, an instant, an amount and a map
//     key that are not there, are absent: see errAbsent;
//   - a section is always there, with zeros in it.
//
// A value is taken from a profile, or from the customer's row where that has
// it. Then the object behind every section is the row itself.

// errAbsent is the value of what is not there. Whatever is made of it is absent
// too, and a condition on it is false.
var errAbsent = errors.New("absent")

var absent = types.WrapErr(errAbsent).(*types.Err)

// profileType is the message that expressions are about.
var profileType = (*queryv1.Profile)(nil).ProtoReflect().Descriptor()

var (
	moneyName     = (*queryv1.Money)(nil).ProtoReflect().Descriptor().FullName()
	timestampName = (*timestamppb.Timestamp)(nil).ProtoReflect().Descriptor().FullName()
	valueName     = (*structpb.Value)(nil).ProtoReflect().Descriptor().FullName()
)

// always are the fields that hold a message without presence: of a customer who
// has nothing of it, it is empty.
var always = []protoreflect.FullName{
	"dossier.query.v1.Profile.acquisition", "dossier.query.v1.Profile.engagement", "dossier.query.v1.Profile.orders",
	"dossier.query.v1.Profile.service", "dossier.query.v1.Profile.referrals", "dossier.query.v1.Profile.interactions",
	"dossier.query.v1.Profile.lifecycle", "dossier.query.v1.Lifecycle.cause",
}

// decimals are the strings that hold a number.
var decimals = []protoreflect.FullName{
	"dossier.query.v1.Orders.units", "dossier.query.v1.ProductTotal.units", "dossier.query.v1.CartItem.quantity",
}

// rowField takes a field from a row; nil is absent.
type rowField func(r *columns.Row) any

// rowFields are the fields that rows have, by their full names. They show what
// profile.Render shows.
var rowFields = map[protoreflect.FullName]rowField{
	"dossier.query.v1.Profile.customer_id":   func(r *columns.Row) any { return types.String(r.ID.String()) },
	"dossier.query.v1.Profile.kind":          rowKind,
	"dossier.query.v1.Profile.identified":    func(r *columns.Row) any { return types.Bool(r.Identified) },
	"dossier.query.v1.Profile.name":          func(r *columns.Row) any { return textOrAbsent(r.Name) },
	"dossier.query.v1.Profile.first_seen_at": func(r *columns.Row) any { return instantOrAbsent(r.FirstSeenAt) },
	"dossier.query.v1.Profile.last_seen_at":  func(r *columns.Row) any { return instantOrAbsent(r.LastSeenAt) },
	"dossier.query.v1.Profile.members":       func(r *columns.Row) any { return types.Double(r.Members) },

	"dossier.query.v1.Lifecycle.stage":    func(r *columns.Row) any { return types.String(r.Stage) },
	"dossier.query.v1.Lifecycle.previous": func(r *columns.Row) any { return textOrAbsent(r.Previous) },
	"dossier.query.v1.Lifecycle.since":    func(r *columns.Row) any { return instantOrAbsent(r.Since) },

	"dossier.query.v1.Engagement.page_views": func(r *columns.Row) any { return types.Double(r.PageViews) },
	"dossier.query.v1.Engagement.sessions":   func(r *columns.Row) any { return types.Double(r.Sessions) },

	"dossier.query.v1.Orders.count":         ofOrders(func(o *columns.Orders) any { return types.Double(o.Count) }),
	"dossier.query.v1.Orders.cancelled":     ofOrders(func(o *columns.Orders) any { return types.Double(o.Cancelled) }),
	"dossier.query.v1.Orders.refunds":       ofOrders(func(o *columns.Orders) any { return types.Double(o.Refunds) }),
	"dossier.query.v1.Orders.purchase_days": ofOrders(func(o *columns.Orders) any { return types.Double(o.PurchaseDays) }),
	"dossier.query.v1.Orders.first_at":      ofOrders(func(o *columns.Orders) any { return instantOrAbsent(o.FirstAt) }),
	"dossier.query.v1.Orders.last_at":       ofOrders(func(o *columns.Orders) any { return instantOrAbsent(o.LastAt) }),
	"dossier.query.v1.Orders.net_revenue":   ofOrders(rowRevenue),

	"dossier.query.v1.Acquisition.touches":   ofAcquisition(func(a *columns.Acquisition) any { return types.Double(a.Touches()) }),
	"dossier.query.v1.Acquisition.ad_views":  ofAcquisition(func(a *columns.Acquisition) any { return types.Double(a.Views) }),
	"dossier.query.v1.Acquisition.ad_clicks": ofAcquisition(func(a *columns.Acquisition) any { return types.Double(a.Clicks) }),

	"dossier.query.v1.Service.opened":   ofService(func(s *columns.Service) uint32 { return s.Opened }),
	"dossier.query.v1.Service.open":     ofService(func(s *columns.Service) uint32 { return s.Open }),
	"dossier.query.v1.Service.resolved": ofService(func(s *columns.Service) uint32 { return s.Resolved }),
	"dossier.query.v1.Service.reopened": ofService(func(s *columns.Service) uint32 { return s.Reopened }),

	"dossier.query.v1.Referrals.made":      ofReferrals(func(g *columns.Referrals) uint32 { return g.Made }),
	"dossier.query.v1.Referrals.converted": ofReferrals(func(g *columns.Referrals) uint32 { return g.Converted }),
	"dossier.query.v1.Referrals.shares":    ofReferrals(func(g *columns.Referrals) uint32 { return g.Shares }),

	"dossier.query.v1.Interactions.count":    ofInteractions(func(i *columns.Interactions) uint32 { return i.Count }),
	"dossier.query.v1.Interactions.inbound":  ofInteractions(func(i *columns.Interactions) uint32 { return i.Inbound }),
	"dossier.query.v1.Interactions.outbound": ofInteractions(func(i *columns.Interactions) uint32 { return i.Outbound }),
}

const (
	kindPerson  = types.String("person")
	kindCompany = types.String("company")
)

func rowKind(r *columns.Row) any {
	if r.Company {
		return kindCompany
	}
	return kindPerson
}

// Zero values of those who have nothing of a section.
var (
	noOrders       columns.Orders
	noAcquisition  columns.Acquisition
	noService      columns.Service
	noReferrals    columns.Referrals
	noInteractions columns.Interactions
)

func ofOrders(take func(*columns.Orders) any) rowField {
	return func(r *columns.Row) any { return take(orElse(r.Orders, &noOrders)) }
}

func ofAcquisition(take func(*columns.Acquisition) any) rowField {
	return func(r *columns.Row) any { return take(orElse(r.Acquisition, &noAcquisition)) }
}

func ofService(take func(*columns.Service) uint32) rowField {
	return func(r *columns.Row) any { return types.Double(take(orElse(r.Service, &noService))) }
}

func ofReferrals(take func(*columns.Referrals) uint32) rowField {
	return func(r *columns.Row) any { return types.Double(take(orElse(r.Referrals, &noReferrals))) }
}

func ofInteractions(take func(*columns.Interactions) uint32) rowField {
	return func(r *columns.Row) any { return types.Double(take(orElse(r.Interactions, &noInteractions))) }
}

func orElse[T any](section, none *T) *T {
	if section == nil {
		return none
	}
	return section
}

func rowRevenue(o *columns.Orders) any {
	if len(o.Net) != 1 {
		return nil
	}
	return units(o.Net[0].Micros)
}

// units are whole units of a sum in millionths: the double nearest to it, as
// one written in decimal would be read, up to 2^53 millionths.
func units(micros int64) types.Double { return types.Double(float64(micros) / 1e6) }

func textOrAbsent(s string) any {
	if s == "" {
		return nil
	}
	return types.String(s)
}

func instantOrAbsent(micros int64) any {
	if micros == 0 {
		return nil
	}
	return types.Timestamp{Time: events.FromMicros(micros)}
}

// fieldTable is every message of a profile: its fields by JSON name.
type fieldTable map[protoreflect.FullName]map[string]*field

// field is a field of a message, as expressions see it.
type field struct {
	*types.FieldType
	descriptor protoreflect.FieldDescriptor
	row        rowField // nil: no row has it
}

// newFieldTable describes a message and all messages in it.
func newFieldTable(root protoreflect.MessageDescriptor) fieldTable {
	t := fieldTable{}
	t.add(root)
	return t
}

func (t fieldTable) add(message protoreflect.MessageDescriptor) {
	if t[message.FullName()] != nil || message.FullName() == timestampName || message.FullName() == valueName {
		return
	}
	named := map[string]*field{}
	t[message.FullName()] = named
	for i := range message.Fields().Len() {
		fd := message.Fields().Get(i)
		f := &field{descriptor: fd, row: rowFields[fd.FullName()]}
		f.FieldType = &types.FieldType{Type: fieldType(fd), GetFrom: f.get, IsSet: f.isSet}
		named[fd.JSONName()] = f
		switch {
		case fd.IsMap() && fd.MapValue().Message() != nil:
			t.add(fd.MapValue().Message())
		case !fd.IsMap() && fd.Message() != nil:
			t.add(fd.Message())
		}
	}
}

// fieldType is the kind of value that an expression finds in a field.
func fieldType(fd protoreflect.FieldDescriptor) *types.Type {
	switch {
	case fd.IsMap():
		return types.NewMapType(types.StringType, singleType(fd.MapValue(), false))
	case fd.IsList():
		return types.NewListType(singleType(fd, false))
	default:
		return singleType(fd, true)
	}
}

// singleType is the type of one value. An amount that stands alone is a number;
// in a list its currency matters, and it is a message.
func singleType(fd protoreflect.FieldDescriptor, alone bool) *types.Type {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return types.BoolType
	case protoreflect.StringKind:
		if slices.Contains(decimals, fd.FullName()) {
			return types.DoubleType
		}
		return types.StringType
	case protoreflect.MessageKind:
		switch name := fd.Message().FullName(); {
		case name == timestampName:
			return types.TimestampType
		case name == valueName:
			return types.DynType
		case name == moneyName && alone:
			return types.DoubleType
		default:
			return types.NewObjectType(string(name))
		}
	default:
		return types.DoubleType
	}
}

// get takes the field from a message or a row.
func (f *field) get(target any) (any, error) {
	switch t := target.(type) {
	case *columns.Row:
		if f.row == nil {
			return target, nil // a section; what is asked for in it has a column
		}
		if value := f.row(t); value != nil {
			return value, nil
		}
		return nil, errAbsent
	case protoreflect.Message:
		return f.fromMessage(t)
	}
	return nil, errAbsent
}

func (f *field) fromMessage(m protoreflect.Message) (any, error) {
	fd := f.descriptor
	if fd.HasPresence() && !m.Has(fd) && !slices.Contains(always, fd.FullName()) {
		return nil, errAbsent
	}
	value := m.Get(fd)
	switch {
	case fd.IsMap():
		entries := make(map[string]any, value.Map().Len())
		for key, entry := range value.Map().Range {
			single, err := single(fd.MapValue(), entry, false)
			if err == nil { // one that is absent is none
				entries[key.String()] = single
			}
		}
		return entries, nil
	case fd.IsList():
		list := make([]any, 0, value.List().Len())
		for i := range value.List().Len() {
			if single, err := single(fd, value.List().Get(i), false); err == nil {
				list = append(list, single)
			}
		}
		return list, nil
	}
	return single(fd, value, true)
}

// single is one value of a field.
func single(fd protoreflect.FieldDescriptor, value protoreflect.Value, alone bool) (any, error) {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return types.Bool(value.Bool()), nil
	case protoreflect.StringKind:
		if !slices.Contains(decimals, fd.FullName()) {
			return types.String(value.String()), nil
		}
		if value.String() == "" {
			return types.Double(0), nil
		}
		n, err := strconv.ParseFloat(value.String(), 64)
		if err != nil {
			return nil, errAbsent
		}
		return types.Double(n), nil
	case protoreflect.MessageKind:
		return singleMessage(value.Message(), alone)
	case protoreflect.DoubleKind:
		return types.Double(value.Float()), nil
	case protoreflect.Uint32Kind:
		return types.Double(value.Uint()), nil
	default:
		return types.Double(value.Int()), nil
	}
}

func singleMessage(m protoreflect.Message, alone bool) (any, error) {
	switch message := m.Interface().(type) {
	case *timestamppb.Timestamp:
		return types.Timestamp{Time: message.AsTime()}, nil
	case *structpb.Value:
		return jsonValue(message)
	case *queryv1.Money:
		if alone {
			return units(message.GetMicros()), nil
		}
	}
	return m, nil
}

// jsonValue is what was told as JSON. A null is absent.
func jsonValue(v *structpb.Value) (any, error) {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_BoolValue:
		return types.Bool(kind.BoolValue), nil
	case *structpb.Value_NumberValue:
		return types.Double(kind.NumberValue), nil
	case *structpb.Value_StringValue:
		return types.String(kind.StringValue), nil
	case *structpb.Value_ListValue:
		var list []any
		for _, v := range kind.ListValue.GetValues() {
			if value, err := jsonValue(v); err == nil {
				list = append(list, value)
			}
		}
		return list, nil
	case *structpb.Value_StructValue:
		entries := map[string]any{}
		for key, v := range kind.StructValue.GetFields() {
			if value, err := jsonValue(v); err == nil {
				entries[key] = value
			}
		}
		return entries, nil
	}
	return nil, errAbsent
}

// isSet is what has() asks: there, and no empty text, list or map. A zero and a
// no are there.
func (f *field) isSet(target any) bool {
	value, err := f.get(target)
	if err != nil {
		return false
	}
	switch v := value.(type) {
	case types.String:
		return v != "" || f.descriptor.HasPresence()
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	case protoreflect.Message:
		return v.IsValid()
	}
	return true
}

// EnumValue implements [types.Provider]: there are none.
func (t fieldTable) EnumValue(name string) ref.Val { return types.NewErr("no enum value %s", name) }

// FindIdent implements [types.Provider]: fields are variables.
func (t fieldTable) FindIdent(string) (ref.Val, bool) { return nil, false }

// FindStructType implements [types.Provider].
func (t fieldTable) FindStructType(name string) (*types.Type, bool) {
	if t[protoreflect.FullName(name)] == nil {
		return nil, false
	}
	return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
}

// FindStructFieldNames implements [types.Provider].
func (t fieldTable) FindStructFieldNames(name string) ([]string, bool) {
	named := t[protoreflect.FullName(name)]
	return sortedNames(named), named != nil
}

// FindStructFieldType implements [types.Provider].
func (t fieldTable) FindStructFieldType(name, fieldName string) (*types.FieldType, bool) {
	f := t[protoreflect.FullName(name)][fieldName]
	if f == nil {
		return nil, false
	}
	return f.FieldType, true
}

// NewValue implements [types.Provider]: expressions make no messages.
func (t fieldTable) NewValue(name string, _ map[string]ref.Val) ref.Val {
	return types.NewErr("no message %s can be made", name)
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// NativeToValue implements [types.Adapter] for what fields hold.
func (t fieldTable) NativeToValue(value any) ref.Val {
	switch v := value.(type) {
	case ref.Val:
		return v
	case protoreflect.Message:
		return message{v}
	case []any:
		return types.NewDynamicList(t, v)
	case map[string]any:
		return types.NewStringInterfaceMap(t, v)
	case bool: // of a presence test
		return types.Bool(v)
	case time.Duration:
		return types.Duration{Duration: v}
	case *columns.Row:
		return absent // a section as a whole: conditions on rows ask for none
	}
	return types.DefaultTypeAdapter.NativeToValue(value)
}

// message is a message as the element of a list or map. Expressions take its
// fields, and compare it with nothing.
type message struct{ of protoreflect.Message }

// ConvertToNative implements [ref.Val].
func (m message) ConvertToNative(reflect.Type) (any, error) { return nil, errAbsent }

// ConvertToType implements [ref.Val].
func (m message) ConvertToType(ref.Type) ref.Val { return absent }

// Equal implements [ref.Val].
func (m message) Equal(ref.Val) ref.Val { return absent }

// Type implements [ref.Val].
func (m message) Type() ref.Type { return types.NewObjectType(string(m.of.Descriptor().FullName())) }

// Value implements [ref.Val]: what field.get takes.
func (m message) Value() any { return m.of }
