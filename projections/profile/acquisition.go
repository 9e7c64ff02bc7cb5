package profile

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Acquisition: what brought the customer. All fields are facts.
//
// A touch is an advertisement seen or clicked, and every distinct (day, source,
// medium, campaign) of context.campaign, whatever event it came with: a browser
// sends the campaign of a visit with every page of it. The day is one of the
// deployment's zone, texts count as they were sent. An advertisement that has a
// campaign in its context too is both, and counts twice.
//
// First and last touch are of the least and the greatest event that told one;
// of an advertisement with a campaign in its context, the advertisement is
// shown. Campaigns are counted by name while there are at most maxKeys of them,
// beyond that the list is dropped; touches without a name have no part in it.

func foldAcquisition(f *statev1.Facts, a *application) error {
	kind, campaign := a.Header.GetType(), a.Body.GetContext().GetCampaign()
	viewed, clicked := kind == eventsv1.Type_TYPE_AD_VIEWED, kind == eventsv1.Type_TYPE_AD_CLICKED
	campaigned := campaign.GetSource() != "" || campaign.GetMedium() != "" || campaign.GetName() != ""
	if !viewed && !clicked && !campaigned {
		return nil
	}
	if f.Acquisition == nil {
		f.Acquisition = &statev1.AcquisitionFacts{}
	}
	q := f.Acquisition
	t := touchOfCampaign(campaign)
	if campaigned {
		isNew, err := noteCampaign(a, campaign)
		if err != nil {
			return err
		}
		if isNew {
			q.CampaignDays++
			countTouch(q, t)
		}
	}
	if viewed || clicked {
		t = touchOfAd(a.Body.GetAd(), t)
		q.Views += one(viewed)
		q.Clicks += one(clicked)
		countTouch(q, t)
	}
	if q.First == nil || CompareStamps(a.stamp, q.First.Stamp) < 0 {
		q.First = t.fact(a.stamp)
	}
	if q.Last == nil || CompareStamps(a.stamp, q.Last.Stamp) > 0 {
		q.Last = t.fact(a.stamp)
	}
	return nil
}

// touch is what one event tells of what brought the customer.
type touch struct {
	source, medium, campaign string
	isAd                     bool
	word                     string // an advertisement's own for its channel
}

func touchOfCampaign(c *eventsv1.Campaign) touch {
	return touch{source: c.GetSource(), medium: c.GetMedium(), campaign: c.GetName()}
}

// touchOfAd is the touch of an advertisement. What it does not say of itself is
// taken from the campaign in its context; source and medium only together,
// which mean nothing apart.
func touchOfAd(ad *eventsv1.AdTouch, context touch) touch {
	t := touch{source: ad.GetSource(), medium: ad.GetMedium(), campaign: ad.GetCampaign(), isAd: true, word: ad.GetChannel()}
	if t.source == "" && t.medium == "" {
		t.source, t.medium = context.source, context.medium
	}
	if t.campaign == "" {
		t.campaign = context.campaign
	}
	return t
}

func (t *touch) fact(stamp *statev1.Stamp) *statev1.Touch {
	return &statev1.Touch{
		Stamp: stamp, Channel: t.channel(),
		Source: cut(t.source, maxCampaignBytes), Medium: cut(t.medium, maxCampaignBytes), Campaign: cut(t.campaign, maxCampaignBytes),
	}
}

// noteCampaign reports whether a campaign is the first of its kind on the day of
// the event. Each kind of a day is a row, whose id says all there is to know:
// so the count is exact, however many there are.
func noteCampaign(a *application, c *eventsv1.Campaign) (isNew bool, err error) {
	id := campaignID(a.env.Zone.Day(a.stamp.OccurredAt), c)
	row, err := a.rows.Get(RowCampaign, id)
	if err != nil || row != nil {
		return false, err
	}
	a.rows.Put(RowCampaign, id, []byte{1})
	return true, nil
}

// campaignID is the day, so that days sort by time, and half of a SHA-256 of
// the rest, each text behind its length.
func campaignID(day int32, c *eventsv1.Campaign) []byte {
	var text []byte
	for _, s := range [...]string{c.GetSource(), c.GetMedium(), c.GetName()} {
		text = append(binary.BigEndian.AppendUint32(text, uint32(len(s))), s...)
	}
	sum := sha256.Sum256(text)
	const sign = 1 << 31
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 20), uint32(day)^sign), sum[:16]...)
}

func countTouch(q *statev1.AcquisitionFacts, t touch) {
	q.Channels = countKey(q.Channels, t.channel())
	name := cut(t.campaign, maxCampaignBytes)
	if name == "" || q.CampaignsApproximate {
		return
	}
	// A top of some of them would depend on which came first.
	if q.Campaigns = countKey(q.Campaigns, name); len(q.Campaigns) > maxKeys {
		q.Campaigns, q.CampaignsApproximate = nil, true
	}
}

// countKey counts one more of a key in a list that is sorted by key.
func countKey(list []*statev1.KeyCount, key string) []*statev1.KeyCount {
	i, found := find(list, key, (*statev1.KeyCount).GetKey)
	if !found {
		return slices.Insert(list, i, &statev1.KeyCount{Key: key, Count: 1})
	}
	list[i].Count++
	return list
}

// encodeAcquisition: ad views; ad clicks; campaigns of a day; list of (channel,
// touches); approximate campaigns; unless so, list of (campaign, touches);
// first touch and last touch, each: channel, source, medium, campaign,
// occurrence.
func encodeAcquisition(e *encoder, f *statev1.Facts) {
	q := f.Acquisition
	if q == nil {
		return
	}
	e.count(q.Views)
	e.count(q.Clicks)
	e.count(q.CampaignDays)
	e.keys(q.Channels)
	e.bool(q.CampaignsApproximate)
	if !q.CampaignsApproximate {
		e.keys(q.Campaigns)
	}
	for _, t := range [...]*statev1.Touch{q.First, q.Last} {
		e.string(t.GetChannel())
		e.string(t.GetSource())
		e.string(t.GetMedium())
		e.string(t.GetCampaign())
		e.int(t.GetStamp().GetOccurredAt())
	}
}

// keys writes a list of (key, count).
func (e *encoder) keys(list []*statev1.KeyCount) {
	e.length(len(list))
	for _, k := range list {
		e.string(k.Key)
		e.count(k.Count)
	}
}

func renderAcquisition(f *statev1.Facts, r *rendering) {
	r.into.Acquisition = nil
	q := f.Acquisition
	if q == nil {
		return
	}
	r.approximate = r.approximate || q.CampaignsApproximate
	r.into.Acquisition = &queryv1.Acquisition{
		Touches:    q.Views + q.Clicks + q.CampaignDays,
		FirstTouch: shownTouch(q.First),
		LastTouch:  shownTouch(q.Last),
		ByChannel:  shownKeys(q.Channels),
		AdViews:    q.Views,
		AdClicks:   q.Clicks,
		Campaigns:  shownKeys(q.Campaigns),
	}
}

func shownTouch(t *statev1.Touch) *queryv1.Touch {
	return &queryv1.Touch{
		Channel: t.Channel, Source: t.Source, Medium: t.Medium, Campaign: t.Campaign, At: timestamp(t.GetStamp().GetOccurredAt()),
	}
}

func shownKeys(list []*statev1.KeyCount) map[string]uint32 {
	shown := make(map[string]uint32, len(list))
	for _, k := range list {
		shown[k.Key] = k.Count
	}
	return shown
}
